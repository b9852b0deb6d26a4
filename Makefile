GO ?= go

FUZZTIME ?= 10s

.PHONY: build test docs fuzz mutants bench pgo clean

build: # the static binary bin/jitgate
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/jitgate ./cmd/jitgate

# What these compile is then there for the build of the Dockerfile, which a test does.
STATIC = CGO_ENABLED=0 GOFLAGS="$(GOFLAGS) -trimpath"

test: export GOFLAGS += -pgo=off # else everything would be compiled twice
test: # everything that CI runs
	./deploy/testenv/install.sh
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "run gofmt -w on:" $$unformatted; exit 1; }
	$(STATIC) $(GO) vet ./...
	$(STATIC) $(GO) tool staticcheck ./...
	$(GO) test -race -vet=off -timeout 15m -json ./... | $(STATIC) $(GO) run ./deploy/rows SECURITY.md
	./deploy/fuzz.sh $(FUZZTIME)

docs: # the configuration reference and the JSON Schema, of the docs of package config
	$(GO) run ./deploy/docs

fuzz: # every fuzz test for FUZZTIME, like make fuzz FUZZTIME=1h
	./deploy/fuzz.sh $(FUZZTIME)

mutants: # takes out each check that decides who signs in, to see that a test notices; half an hour
	$(GO) run ./deploy/mutants -jobs 2

bench: # what it costs, beside a bare ReverseProxy, nginx and mod_auth_mellon; a quarter of an hour
	$(GO) run ./deploy/bench

pgo: # the profile that the compiler builds jitgate by; again after changes to what each request passes
	$(GO) run ./deploy/bench pgo

clean:
	rm -rf bin
