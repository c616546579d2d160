"""`medsimclr policies`."""

import inspect

from medsimclr.cli.console import print_json, print_lines
from medsimclr.cli.options import build_command
from medsimclr.config.policies import PoliciesConfig

__all__ = ["command"]


def _run(config: PoliciesConfig, as_json: bool) -> None:
    if config.store is None and config.policy is None:
        _list(as_json)
        return
    from medsimclr.report.policy_sheets import draw_policy_sheets

    sheets = draw_policy_sheets(config)
    if as_json:
        print_json({name: str(path) for name, path in sheets.items()})
    else:
        print_lines([f"{name}: {path}" for name, path in sheets.items()])


def _list(as_json: bool) -> None:
    from medsimclr.augment.discovery import installed_policies, load_policy

    described = {}
    for name in installed_policies():
        card = inspect.getdoc(type(load_policy(name))) or "no description"
        described[name] = card.splitlines()[0]
    if as_json:
        print_json(described)
    else:
        print_lines([f"{name:16} {what}" for name, what in described.items()])
        print_lines(["See one with --policy NAME --store STORE; your own is file.py:ClassName."])


command = build_command(PoliciesConfig, _run)
