"""What a conversation belongs to: a request, until a deal takes it over."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import Q, QuerySet

from massmail.conversations import ConversationType, conversation_types, find_conversation_type, successors
from massmail.exceptions import MassmailConfigurationError
from massmail.models import Conversation, CorrespondenceFile


def conversations_of(obj: Any) -> QuerySet[Conversation]:
    """Return the conversations of a request or deal: its own, those it took over, those that went on from it.

    One query for each model that goes on from this one, when they are looked for.
    """
    kind = find_conversation_type(obj)
    mine = _about(type(obj), [obj.pk])
    if kind and kind.continues:
        field: Any = kind.model_class._meta.get_field(kind.continues)
        key = getattr(obj, field.attname)
        mine |= _about(field.related_model, [key]) if key is not None else Q()
    for each in successors(type(obj)):
        keys = each.model_class._default_manager.filter(**{str(each.continues): obj}).values_list("pk", flat=True)
        mine |= _about(each.model_class, list(keys))
    return Conversation.objects.filter(mine)


def _about(model: type[models.Model], keys: list[Any]) -> Q:
    content_type = ContentType.objects.get_for_model(model)
    return Q(content_type=content_type, object_id__in=[str(key) for key in keys])


def hand_over(conversation: Conversation) -> Any:
    """Give the conversation to the latest deal of its request, if there is one; return what it belongs to now.

    None if that was deleted.
    """
    about = conversation.about
    heir = _heir(about) if about is not None else None
    if heir is None:
        return about
    _give(Conversation.objects.filter(pk=conversation.pk), heir)
    conversation.refresh_from_db()
    return heir


def _heir(obj: Any) -> Any:
    for each in successors(type(obj)):
        heirs = each.model_class._default_manager.filter(**{str(each.continues): obj})
        if heir := heirs.order_by("-pk").first():
            return heir
    return None


def _give(conversations: QuerySet[Conversation], obj: Any) -> None:
    conversations.update(content_type=ContentType.objects.get_for_model(type(obj)), object_id=str(obj.pk))


def release(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Before a request or deal is deleted: what it has goes to its deal or request; with the last one it is deleted."""
    conversations = Conversation.objects.filter(_about(type(instance), [instance.pk]))
    if not conversations.exists():
        return
    if other := _heir(instance) or _origin(instance):
        _give(conversations, other)
        return
    files = list(CorrespondenceFile.objects.filter(correspondence__conversation__in=conversations))
    conversations.delete()
    transaction.on_commit(lambda: _remove(files))


def _origin(obj: Any) -> Any:
    kind: ConversationType | None = find_conversation_type(obj)
    return getattr(obj, kind.continues) if kind and kind.continues else None


def _remove(files: list[CorrespondenceFile]) -> None:
    for each in files:
        each.file.storage.delete(str(each.file.name))


def watch() -> None:
    """Have `release` called whenever a request or deal is deleted."""
    with suppress(ImportError, LookupError, AttributeError, TypeError, ValueError, MassmailConfigurationError):
        # What is wrong with an adapter is said by the system check.
        for each in conversation_types():
            models.signals.pre_delete.connect(release, sender=each.model_class, dispatch_uid="massmail")
