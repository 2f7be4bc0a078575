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


def test_a_whole_market_and_a_short_life_from_the_command_line():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = ["--generate", "1500", "--generated-rate", "2.5", "--life-s", "60", "--life-notice-s", "10"]
    options, _ = gather(parser.parse_args(line))
    assert (options.generated_symbols, options.generated_rate) == (1500, 2.5)
    assert (options.life_s, options.life_notice_s) == (60.0, 10.0)
