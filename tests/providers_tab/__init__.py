"""Tests of the TAB provider: the contract suite, the grammar, the files, the layout."""
