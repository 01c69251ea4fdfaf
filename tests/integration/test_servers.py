"""The private servers of the tests: they work, and they are gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tests import servers


def test_redis_answers(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


@pytest.mark.postgres
def test_postgres_answers(postgres_url):
    with psycopg.connect(postgres_url.replace("/massmail", "/postgres")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_ends_with_its_block():
    with servers.redis() as url:
        port = urlsplit(url).port
        assert servers.answers(port)
    assert not servers.answers(port)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux's")
def test_a_server_ends_with_the_process_that_started_it(tmp_path):
    program = "from tests import servers\nwith servers.redis() as url: print(url, flush=True); input()"
    env = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        port = urlsplit(owner.stdout.readline().decode()).port
        assert servers.answers(port)
        owner.kill()
    assert servers.eventually(lambda: not servers.answers(port))


def test_a_process_works_on_the_database_of_the_test(process_env, django_user_model):
    django_user_model.objects.create_user("zoe")
    program = (
        "from django.contrib.auth.models import User; User.objects.filter(username='zoe').update(first_name='Zoe')"
    )
    command = [sys.executable, "-m", "django", "shell", "--no-imports", "-c", program]
    subprocess.run(command, env=process_env, check=True, timeout=60)
    assert django_user_model.objects.get().first_name == "Zoe"
