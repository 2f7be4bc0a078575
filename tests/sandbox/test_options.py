import argparse
from dataclasses import fields

from binmon.sandbox.app import add_arguments, gather
from binmon.sandbox.options import SandboxOptions


def test_options_without_arguments_are_the_defaults():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert gather(parser.parse_args([])) == (SandboxOptions(), False)


def test_every_command_line_option_is_a_setting():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    names = {action.dest for action in parser._actions} - {"help", "config", "until_stdin_closes"}
    assert names <= {option.name for option in fields(SandboxOptions)}
