"""Writes docs/escapes.md: what hostile jobs tried on each runtime, and what came of it.

python3 tools/escapes.py RESULTS.xml

RESULTS.xml is what pytest wrote with --junitxml about tests/conformance/runtimes and tests/security; `make escapes`
does both.
"""

import re
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

RUNTIMES = ("native", "bubblewrap", "runc")
SUITE = "tests.conformance.runtimes."
OWN = ("read the first process", "read /proc/1/", "write /proc/1/")
"""What a job may do to itself where its own first process is the container's."""
TARGET = Path(__file__).resolve().parents[1] / "docs" / "escapes.md"
HEAD = """# Escapes

What hostile jobs tried, and what came of it; `make escapes` writes this page from the tests that
[security.md](security.md) names, as root on one machine.
"""


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    cases = list(ET.parse(sys.argv[1]).getroot().iter("testcase"))
    TARGET.write_text("\n".join([HEAD, *kernel(cases), "", *promises(cases), "", *nodes(cases)]) + "\n")
    failed = sum(outcome(case) == "FAILED" for case in cases)
    print(f"wrote {TARGET.name}: {len(cases)} tests, {failed} failed")
    return 1 if failed else 0


def kernel(cases: list[ET.Element]) -> Iterator[str]:
    """What the program of attempts was told, by attempt."""
    answers: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for case in cases:
        for found in case.iter("property"):
            if found.get("name") == "attempts":
                for said in found.get("value", "").splitlines():
                    attempt, _, answer = said.rpartition(": ")
                    answers[attempt][runtime_of(case)].add(told(attempt, answer, runtime_of(case)))
    yield f"## Asked of the kernel: {len(answers)} attempts, as root and as another user of the image"
    yield ""
    yield "A name is the error that the kernel gave; *its own*: it reaches the job's own first process, and no other."
    yield ""
    yield from heading("attempt")
    for attempt, row in answers.items():
        yield line(attempt, [", ".join(sorted(row[name])) or "not tried" for name in RUNTIMES])


def told(attempt: str, answer: str, runtime: str) -> str:
    if answer.startswith("refused, E"):
        return answer.removeprefix("refused, ")
    return "*its own*" if runtime != "native" and attempt.startswith(OWN) else f"**{answer}**"


def promises(cases: list[ET.Element]) -> Iterator[str]:
    """Every other test of the suite, by runtime."""
    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        if (runtime := runtime_of(case)) is not None:
            rows[title(case)][runtime].append(outcome(case))
    yield "## Promises, by runtime"
    yield ""
    yield "How many cases of each were tried and held; a dash where a promise is about one runtime only."
    yield ""
    yield from heading("promise")
    for name, row in sorted(rows.items()):
        yield line(name, [counted(row[each]) for each in RUNTIMES])


def nodes(cases: list[ET.Element]) -> Iterator[str]:
    """What was tried on a whole node, with the runtime that it has by default."""
    rows: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        if runtime_of(case) is None:
            rows[title(case)].append(outcome(case))
    yield "## On a whole node, at the API, and whatever the runtime is"
    yield ""
    yield "| promise | cases |"
    yield "| --- | --- |"
    for name, outcomes in rows.items():
        yield f"| {name} | {counted(outcomes)} |"


def heading(first: str) -> Iterator[str]:
    yield line(first, RUNTIMES)
    yield "| --- " * (1 + len(RUNTIMES)) + "|"


def line(first: str, rest: list[str] | tuple[str, ...]) -> str:
    return f"| {first} | {' | '.join(rest)} |"


def title(case: ET.Element) -> str:
    name = case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")
    return name[:1].upper() + name[1:]


def runtime_of(case: ET.Element) -> str | None:
    """None for tests that are not about one."""
    module = case.get("classname", "")
    if not module.startswith(SUITE):
        return None
    if ".test_native_" in module:
        return "native"
    words = re.split(r"[\[\]-]", case.get("name", ""))
    return next((name for name in RUNTIMES if name in words), None)


def outcome(case: ET.Element) -> str:
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "FAILED"
    return "skipped" if "skipped" in kinds else "held"


def counted(outcomes: list[str]) -> str:
    if not outcomes:
        return "-"
    tried = len(outcomes) - outcomes.count("skipped")
    return f"{outcomes.count('held')} of {tried}" if "FAILED" in outcomes else f"{tried}"


if __name__ == "__main__":
    sys.exit(main())
