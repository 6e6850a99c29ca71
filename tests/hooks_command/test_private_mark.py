"""A program that writes its command file anew loses our lock; nobody takes its pair for mail all the same."""

import asyncio
from pathlib import Path

import pytest

from postroom.transfer import PASS
from postroom_run.caretaker import Caretaker
from postroom_testing.mail import TEXT, letter
from tests.hooks_command.programs import ASKED, script, until
from tests.hooks_command.test_site import post


@pytest.mark.parametrize("edit", ['sed -i "s/^Priority=.*/Priority=High/"', 'sed -i "/^Private=/d"'])
def test_a_command_file_that_was_renamed_over_stays_the_programs(tmp_path: Path, edit: str) -> None:
    program = script(tmp_path, f'{ASKED} {edit} "$command"; touch {tmp_path}/ready; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done')

    async def main() -> None:
        async with post(tmp_path / "site", f"pickup: [{program}]") as house:
            sent = asyncio.create_task(house.send(letter()))
            await until((tmp_path / "ready").exists)
            house.clock.set(4e9)
            caretaker = Caretaker(house.parts)
            taken = asyncio.create_task(caretaker.round())
            await asyncio.sleep(0.3)
            (tmp_path / "go").touch()
            await taken
            assert await sent == PASS
            await house.parts.mta.drain()
            caretaker.close()
            assert house.mailbox() == [TEXT]

    asyncio.run(main())
