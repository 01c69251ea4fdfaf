"""All that is wrong with a message, for those who can still mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from massmail.composing.preparing import prepare, variables_used
from massmail.composing.rendering import preview
from massmail.composing.sources import Source, UnknownVariableError, naming_signature, problems_of, sources_of
from massmail.composing.templates import UNSUBSCRIBE, SandboxTemplate, fill, neutral_locale
from massmail.composing.types import Links, Prepared
from massmail.exceptions import CompositionError
from massmail.models import Message, Signature

#: Characters of a stand-in: as many as a name has. A loop over one goes round as often.
STAND_IN = 12
_BARE = f'<a href="{{{{ {UNSUBSCRIBE} }}}}">-</a>'
_LINKS = Links(unsubscribe="https://unsubscribe.invalid/")


def check(message: Message, variables: Iterable[str] | None = None) -> list[CompositionError]:
    """Return all that is wrong with `message`, saved or not; empty when it can be sent.

    With `variables`, the names the recipient type hands out, unknown ones are reported too. The message is filled in
    with stand-ins for them (for the variables it uses, if none are given), so that what fails for every recipient
    fails here. For the `clean()` of forms, and before a mailing starts.
    """
    names = None if variables is None else set(variables)
    problems = [naming_signature(problem, message) for problem in _source_problems(message, names)]
    if not all(isinstance(problem, UnknownVariableError) for problem in problems):
        return problems
    try:
        prepared = prepare(message)
    except CompositionError as error:
        return [*problems, error]
    failure = _trial(message, prepared, variables_used(message) if names is None else names)
    return [*problems, naming_signature(failure, message)] if failure else problems


def check_signature(signature: Signature, variables: Iterable[str] | None = None) -> list[CompositionError]:
    """Return what is wrong with `signature`, saved or not, in any message; see `check`."""
    # Without its name, which need not be told to who is writing it.
    nameless = Signature(owner_id=signature.owner_id, type=signature.type, content=signature.content)
    message = Message(owner_id=signature.owner_id, subject="-", content=_BARE, signature=nameless)
    return [problem for problem in check(message, variables) if problem.field == "signature"]


def _source_problems(message: Message, variables: set[str] | None) -> Iterator[CompositionError]:
    """Yield the problems of each text; a variable that several of them miss is one problem."""
    unknown = set()
    for source in sources_of(message):
        for problem in problems_of(message, source, variables):
            if isinstance(problem, UnknownVariableError):
                if str(problem) in unknown:
                    continue
                unknown.add(str(problem))
            yield problem


def _trial(message: Message, prepared: Prepared, names: set[str]) -> CompositionError | None:
    """Return why `message` cannot be filled in, if so: with short texts for all variables, or with nothing in them.

    Each text is filled in by itself first: only there do the lines count as the author counts them.
    """
    sources = [(source, source.compiled()) for source in sources_of(message)]
    templates = (prepared.subject_template, prepared.html_template, prepared.text_template)
    for values in ({name: name[:STAND_IN] for name in names}, dict.fromkeys(names, "")):
        for source, template in sources:
            failure = _failure(source, template, values)
            if failure:
                return failure
        try:
            preview(prepared, values=values, links=_LINKS)
        except CompositionError as error:
            if not _is_about_stand_ins(error, *templates):
                return CompositionError(str(error), field=error.field)
    return None


def _failure(source: Source, template: SandboxTemplate, values: dict[str, str]) -> CompositionError | None:
    escape = source.field not in ("subject", "plain_text")
    try:
        with neutral_locale():
            fill(template, {**values, UNSUBSCRIBE: _LINKS.unsubscribe}, escape=escape, field=source.field)
    except CompositionError as error:
        return None if _is_about_stand_ins(error, template) else error
    return None


def _is_about_stand_ins(error: CompositionError, *templates: SandboxTemplate) -> bool:
    """A loop that takes pairs apart fails with texts, but perhaps not with what the host hands out."""
    return isinstance(error.__cause__, ValueError) and any(template.unpacks for template in templates)
