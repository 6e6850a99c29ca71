"""A program that writes its command file anew loses our lock; nobody takes its pair for mail all the same."""

import asyncio
from pathlib import Path

import pytest

from postroom.transfer import PASS
from postroom_run.caretaker import Caretaker
from postroom_testing.mail import TEXT, letter
from postroom_testing.waiting import until
from tests.hooks_command.programs import ASKED, script
from tests.hooks_command.test_site import post


@pytest.mark.parametrize("edit", ['sed -i "s/^Priority=.*/Priority=High/"', 'sed -i "/^Private=/d"'])
def test_a_command_file_that_was_renamed_over_stays_the_programs(tmp_path: Path, edit: str) -> None:
    text = f'{ASKED} {edit} "$command"; echo asked >> {tmp_path}/ready; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done'
    program = script(tmp_path, text)

    async def main() -> None:
        async with post(tmp_path / "site", f"pickup: [{program}]") as house:
            sent = asyncio.create_task(house.send(letter()))
            await until((tmp_path / "ready").exists)
            house.clock.set(4e9)
            caretaker = Caretaker(house.parts)
            await caretaker.round()
            (tmp_path / "go").touch()
            assert await sent == PASS
            await house.parts.mta.drain()
            caretaker.close()
            assert house.mailbox() == [TEXT]
            assert (tmp_path / "ready").read_text() == "asked\n", "mail that was taken of the pair would be asked about too"

    asyncio.run(main())
