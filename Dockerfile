# The image holds the program, the certificate authorities, and a place for the
# admin socket: no shell, no package manager, nothing that runs as root. Mount the
# configuration and what it names at /etc/jitgate.
#
# The same source makes the same program, byte for byte, with the same Go. To make an image
# again that is the same too, pass --build-arg GO_IMAGE=golang@sha256:… of the one that you
# have looked at, and to buildx --output type=image,rewrite-timestamp=true with
# SOURCE_DATE_EPOCH=0 in its environment.

ARG GO_IMAGE=golang:1.26
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETOS TARGETARCH
# No other Go than that of the image.
ENV GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN mkdir -p /out/run/jitgate && \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o /out/jitgate ./cmd/jitgate && \
    find /out/ -exec touch -d @0 {} +

FROM scratch
ARG VERSION=unreleased REVISION=unknown
LABEL org.opencontainers.image.title="jitgate" \
      org.opencontainers.image.description="SAML reverse-proxy authentication gateway" \
      org.opencontainers.image.source="https://github.com/jitgate/jitgate" \
      org.opencontainers.image.documentation="https://github.com/jitgate/jitgate/blob/main/README.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/run /run
COPY --from=build /out/jitgate /usr/bin/jitgate
USER 65532:65532
# So that the admin commands find jitgate.yaml: docker exec NAME jitgate users list
WORKDIR /etc/jitgate
EXPOSE 8443
STOPSIGNAL SIGTERM
# By the program itself: there is no curl here.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/bin/jitgate", "healthcheck", "-c", "/etc/jitgate/jitgate.yaml"]
ENTRYPOINT ["/usr/bin/jitgate"]
CMD ["serve", "-c", "/etc/jitgate/jitgate.yaml"]
