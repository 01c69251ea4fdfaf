.PHONY: demo test lint ci corpora bench torture screenshots clean

demo:   ; ./run demo
test:   ; ./run test -n 4 --dist worksteal -m "not browser and not postgres and not mailstack"
lint:   ; .ci/lint
ci:     ; .ci/run
corpora: ; .venv/bin/python -m tests.corpora
bench:  ; mkdir -p var/bench && for step in "fill 2000" send; do EXAMPLE_VAR=var/bench .venv/bin/python manage.py bench $$step || exit 1; done
torture: ; .venv/bin/python -m tests.torture
screenshots: ; .venv/bin/pytest -q -o timeout=1800 tests/acceptance/screenshots.py
clean:  ; rm -rf .venv var build dist .*_cache .hypothesis .coverage* htmlcov *.egg-info
