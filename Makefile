GO ?= go

FUZZTIME ?= 30s

.PHONY: build test fuzz clean

build: # the static binary bin/jitgate
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/jitgate ./cmd/jitgate

test: # everything that CI runs
	./deploy/testenv/install.sh
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "run gofmt -w on:" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -race -vet=off -timeout 8m -json ./... | $(GO) run ./deploy/rows SECURITY.md
	./deploy/fuzz.sh $(FUZZTIME)

fuzz: # every fuzz test for FUZZTIME, like make fuzz FUZZTIME=1h
	./deploy/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin
