.PHONY: demo test lint ci corpora clean

demo:   ; ./run demo
test:   ; ./run test -n 2 -m "not browser and not postgres"
lint:   ; .ci/lint
ci:     ; .ci/run
corpora: ; .venv/bin/python -m tests.corpora
clean:  ; rm -rf .venv var build dist .*_cache .hypothesis .coverage* htmlcov *.egg-info
