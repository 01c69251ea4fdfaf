"""Messages frozen for sending: rows that never change, named by a digest of all they hold."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from django.db import transaction

from massmail.composing.preparing import compiled, prepare
from massmail.composing.types import File, Prepared
from massmail.exceptions import CompositionError
from massmail.models import Message, MessageVersion, VersionFile


def digest_of(prepared: Prepared) -> str:
    """Return the SHA-256 of sources and files, each preceded by its length, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    texts = [prepared.subject, prepared.html, prepared.text]
    parts = [text.encode() for text in texts]
    for file in prepared.files:
        parts += [file.name.encode(), file.mime_type.encode(), file.content_id.encode(), file.data]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def freeze(message: Message) -> MessageVersion:
    """Return the version of the saved `message` as it is now; the same row as long as nothing has changed.

    Raises `CompositionError` as `prepare` does.
    """
    prepared = prepare(message)
    with transaction.atomic():
        version, created = MessageVersion.objects.get_or_create(
            message=message,
            digest=digest_of(prepared),
            defaults={"subject": prepared.subject, "html": prepared.html, "text": prepared.text},
        )
        if created:
            VersionFile.objects.bulk_create(
                VersionFile(
                    version=version,
                    name=file.name,
                    mime_type=file.mime_type,
                    content_id=file.content_id,
                    data=file.data,
                )
                for file in prepared.files
            )
    return version


def has_changed(message: Message, version: MessageVersion) -> bool:
    """Return whether `message` would be frozen as anything else than `version` now, or could not be at all."""
    try:
        return digest_of(prepare(message)) != version.digest
    except CompositionError:
        return True


def thaw(version: MessageVersion) -> Prepared:
    """Return what was frozen as `version`. A worker compiles the versions it is sending once."""
    return _thaw(version.pk, version.digest)


@lru_cache(maxsize=8)
def _thaw(pk: int, digest: str) -> Prepared:
    """The digest is part of the key, so that another database's row with the same number is another entry."""
    version = MessageVersion.objects.get(pk=pk, digest=digest)
    files = tuple(
        File(name=row.name, mime_type=row.mime_type, content_id=row.content_id, data=bytes(row.data))
        for row in version.files.all()
    )
    return compiled(subject=version.subject, html=version.html, text=version.text, files=files)
