"""Threats to messages and to unsubscribing: what is tried, the test of it, and the protection without which it fails.

`python -m tests.threats FOLDER [ID ...]` proves the last: in a copy of the project in FOLDER, one after the other, it
takes each protection out, runs the tests of its threat, which must fail, and puts it back. Exits with 1 if one passes.
`tests.unit.test_threats` sees to it that the tests and protections named here exist.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """`protection` is a text in `file`; with `without` in its place there is no protection. `tests` are node ids."""

    id: str
    what: str
    tests: tuple[str, ...]
    file: str
    protection: str
    without: str


def _threat(id: str, what: str, test: str, file: str, protection: str, without: str) -> Threat:
    tests = tuple(f"tests/{each}" for each in test.split())
    return Threat(id=id, what=what, tests=tests, file=f"massmail/{file}", protection=protection, without=without)


THREATS = (
    _threat(
        "T1",
        "tags that load code or files",
        "unit/test_composing_templates.py::test_t1__forbidden_tag",
        "composing/templates.py",
        'default_builtins = ["massmail.composing.sandbox"]',
        'default_builtins = [*Engine.default_builtins, "massmail.composing.sandbox"]',
    ),
    _threat(
        "T2",
        "attributes of objects",
        "unit/test_composing_templates.py::test_t2__only_keys_and_indexes",
        "composing/templates.py",
        "expression.var = self._noted(PlainVariable(expression.var.var))",
        "self._noted(PlainVariable(expression.var.var))",
    ),
    _threat(
        "T2",
        "objects in the context",
        "unit/test_composing_templates.py::test_plain__keeps_data_and_escapes_what_was_safe",
        "composing/templates.py",
        "    return clean(str(value))",
        "    return value",
    ),
    _threat(
        "T3",
        "bombs",
        "unit/test_composing_templates.py::test_t3__bombs",
        "composing/metering.py",
        "if size > MAX_SIZE or self.steps > MAX_STEPS:",
        "if False:",
    ),
    _threat(
        "T4",
        "placeholders and HTML in the CRM's own values",
        "unit/test_composing_templates.py::test_t4__customer_data_is_never_parsed_again",
        "composing/rendering.py",
        "html = fill_gaps(prepared.html_template, context, escape=True)",
        "html = fill_gaps(prepared.html_template, context, escape=False)",
    ),
    _threat(
        "T5",
        "a broken message saved long ago",
        "integration/test_admin_messages.py::test_broken_message_saved_long_ago_still_opens",
        "admin/editor.py",
        '        except CompositionError as error:\n            return {"preview_url": url, "preview_error"',
        '        except ZeroDivisionError as error:\n            return {"preview_url": url, "preview_error"',
    ),
    _threat(
        "T6",
        "line ends and controls in the subject",
        "unit/test_composing_templates.py::test_t6__controls_in_one_line_fields",
        "composing/sources.py",
        "    if _LINE_END.search(source.text):",
        "    if False:",
    ),
    _threat(
        "T6",
        "an escaped subject",
        "unit/test_composing_templates.py::test_t6__subject_is_one_unescaped_line",
        "composing/rendering.py",
        'fill(prepared.subject_template, context, escape=False, field="subject")',
        'fill(prepared.subject_template, context, escape=True, field="subject")',
    ),
    _threat(
        "T7",
        "paths and other people's pictures",
        "unit/test_composing_freezing.py::test_pictures__are_found_by_owner_and_name_then_shared",
        "composing/images.py",
        "rows = Image.objects.filter(allowed, name__in=names)",
        "rows = Image.objects.filter(name__in=names)",
    ),
    _threat(
        "T8",
        "uploads that are no pictures",
        "unit/test_composing_pictures.py::test_anything_else_is_refused",
        "composing/pictures.py",
        '        raise PictureError(_("This is not a readable picture. PNG',
        '        return Picture(mime_type="", width=0, height=0, data=data, thumbnail=b"")\n'
        '        raise PictureError(_("This is not a readable picture. PNG',
    ),
    _threat(
        "T8",
        "pixel bombs",
        "unit/test_composing_pictures.py::test_pixels_are_counted_over_all_frames",
        "composing/pictures.py",
        "        if pixels > MAX_PIXELS:",
        "        if False:",
    ),
    _threat(
        "T9",
        "attachments without end",
        "unit/test_composing_freezing.py::test_attachments__sum_is_capped",
        "composing/preparing.py",
        "    if sum(len(file.data) for file in files) > MAX_FILES:",
        "    if False:",
    ),
    _threat(
        "T10",
        "a file replaced or deleted in mid-run",
        "unit/test_composing_freezing.py::test_thaw__sends_what_was_frozen_though_all_of_it_is_gone "
        "integration/test_admin_images.py::test_replaced_and_deleted_in_mid_run__the_frozen_copy_is_sent",
        "composing/freezing.py",
        "        if created:\n            VersionFile",
        "        if False:\n            VersionFile",
    ),
    _threat(
        "T11",
        "scripts in a preview",
        "integration/test_admin_previews.py::test_preview__is_locked_up",
        "admin/previews.py",
        "POLICY = \"sandbox; default-src 'none'; ",
        'POLICY = "default-src *; ',
    ),
    _threat(
        "T12",
        "HTML in names, on our pages",
        "integration/test_host_panel.py::test_names_are_escaped",
        "templates/massmail/admin/panel_mailing.html",
        '<a href="{{ line.mailing_url }}">{{ line.mailing }}</a>',
        '<a href="{{ line.mailing_url }}">{{ line.mailing|safe }}</a>',
    ),
    _threat(
        "T13",
        "HTML in mail that came in",
        "integration/test_requests.py::test_import__survives_hostile_mail",
        "templates/massmail/admin/correspondence.html",
        '<div class="massmail-letter-text" dir="auto">{{ mail.text }}</div>',
        '<div class="massmail-letter-text" dir="auto">{{ mail.text|safe }}</div>',
    ),
    _threat(
        "T18",
        "formulas in exports",
        "integration/test_admin_recipients.py::test_export__a_cell_is_no_formula "
        "integration/test_suppressions.py::test_export__what_the_list_shows_and_no_formulas",
        "admin/exports.py",
        "if text.startswith(FORMULA) else text",
        "if False else text",
    ),
    _threat(
        "T21",
        "scanners that look and follow links",
        "integration/test_unsubscribe.py::test_t21_looking_changes_nothing "
        "integration/test_unsubscribe.py::test_t21_a_scanner_that_follows_every_link_of_a_mail_changes_nothing",
        "views.py",
        "        mailed = recently_mailed(token)\n",
        "        mailed = recently_mailed(token)\n"
        "        if target := outcomes.find_recipient(token):\n"
        '            outcomes.unsubscribe(*target, source="link")\n',
    ),
    _threat(
        "T22",
        "guessed tokens",
        "integration/test_unsubscribe.py::test_t22_tokens_are_unguessable",
        "tokens.py",
        "    return secrets.token_urlsafe(16)",
        "    return secrets.token_urlsafe(4)",
    ),
    _threat(
        "T22",
        "answers that tell known tokens",
        "integration/test_unsubscribe.py::test_t22_unknown_tokens_get_the_same_answers",
        "views.py",
        "        if mailed is None:\n            Throttle(request).note_guess()",
        "        if mailed is None:\n            return HttpResponse(status=404)",
    ),
    _threat(
        "T23",
        "recipients deleted or merged",
        "integration/test_unsubscribe.py::test_t23_recipient_deleted",
        "outcomes/standing.py",
        "        return None\n    return recipient, recipient.addresses[link.position]",
        "        return None\n    assert recipient.content_object\n    return recipient, recipient.addresses[0]",
    ),
    _threat(
        "T24",
        "links that die with a key",
        "integration/test_unsubscribe.py::test_t24_links_outlive_every_key_rotation",
        "tokens.py",
        "    match = _NAME.fullmatch(name)\n",
        # As if it were signed.
        "    match = _NAME.fullmatch(name) if settings.SECRET_KEY == 'for tests only' else None\n",
    ),
    _threat(
        "T25",
        "addresses imported again",
        "integration/test_unsubscribe.py::test_t25_a_re_imported_address_stays_suppressed",
        "outcomes/suppressions.py",
        "_row, created = Suppression.objects.get_or_create(address=address, defaults={",
        "_row, created = None, dict({",
    ),
    _threat(
        "T26",
        "capitals, and other objects with the address",
        "integration/test_unsubscribe.py::test_t26_case_does_not_matter_and_every_object_with_the_address_counts",
        "outcomes/standing.py",
        'f"{recipient_type.email}__iexact"',
        'f"{recipient_type.email}__exact"',
    ),
    _threat(
        "T26b",
        "scanners that run scripts",
        "integration/test_unsubscribe.py::test_t26b_the_page_waits_for_a_click_in_the_first_minutes "
        "acceptance/test_unsubscribe_page.py::test_t26b_a_scanner_with_a_browser_in_the_first_minutes_changes_nothing",
        "views.py",
        "by_itself=not mailed)",
        "by_itself=True)",
    ),
    _threat(
        "T27",
        "line ends in headers",
        "unit/test_composing_mime.py::test_t27__injection_by_the_account",
        "composing/headers.py",
        '    if re.search(r"[\\r\\n\\x00]", name):',
        "    if False:",
    ),
    _threat(
        "T27",
        "line ends in values",
        "unit/test_composing_mime.py::test_t27__injection_by_values_in_the_subject",
        "composing/headers.py",
        'return " ".join(_DISGUISE.sub("", _NOT_IN_LINES.sub(" ", text)).split())',
        "return text",
    ),
    _threat(
        "T28",
        "dots and bare line ends in bodies",
        "unit/test_composing_mime.py::test_t28__any_body_comes_back unit/test_transport_wire.py",
        "transport/wire.py",
        '    text = message.replace(b"\\r\\n", b"\\n").replace(b"\\r", b"\\n").replace(b"\\n", b"\\r\\n")',
        "    text = message",
    ),
    _threat(
        "T29",
        "names in disguise",
        "unit/test_composing_mime.py::test_t29__disguises_are_stripped_and_spelling_is_kept",
        "composing/headers.py",
        '_DISGUISE.sub("", ',
        "str(",
    ),
    _threat(
        "T29",
        "homographs are told",
        "unit/test_composing_linting.py::test_names_of_senders",
        "composing/linting/wording.py",
        "if len({script for script in map(_script, word) if script in _SCRIPTS}) > 1:",
        "if False:",
    ),
    _threat(
        "T30",
        "odd addresses",
        "integration/test_audience.py::test_parse_address__refused",
        "audience/addresses.py",
        "    if found is None or not found.local_part.isascii():",
        "    if found is None:",
    ),
    _threat(
        "T31",
        "one address on two objects",
        "integration/test_audience.py::test_create_mailing__of_one_address_the_lowest_key_wins",
        "audience/making.py",
        "        lambda: _leave_out_duplicates(mailing, sorting),\n",
        "",
    ),
)


def survives(threat: Threat, folder: Path) -> bool:
    """Return whether the tests of `threat` pass in the copy in `folder` without its protection."""
    file = folder / threat.file
    source = file.read_text()
    if source.count(threat.protection) != 1:
        raise ValueError(f"{threat.id}: {threat.protection!r} is not in {file} once")
    file.write_text(source.replace(threat.protection, threat.without))
    try:
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *threat.tests]
        run = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True)
    finally:
        file.write_text(source)
    if run.returncode not in (0, 1):
        raise RuntimeError(run.stdout.decode()[-2000:])
    return run.returncode == 0


def main(folder: Path, wanted: list[str]) -> int:
    """Print for each threat whether its tests fail without its protection; return how many do not."""
    passed = 0
    for threat in THREATS:
        if not wanted or threat.id in wanted:
            green = survives(threat, folder)
            passed += green
            sys.stdout.write(f"{threat.id:5} {'STILL GREEN' if green else 'red':11} {threat.what}\n")
            sys.stdout.flush()
    return passed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]) > 0)
