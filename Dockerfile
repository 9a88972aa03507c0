# Builds Intakt and leaves it alone in an image: `docker build -t intakt .`. What to do with that: packaging/README.md.

# As in rust-toolchain.toml; a test compares the two.
ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-slim-trixie AS build
WORKDIR /src
# Features of cargo: v4l2 is for cameras at /dev/videoN.
ARG FEATURES=""
# Without the lines of a debugger, which are four fifths of the program.
ENV CARGO_PROFILE_RELEASE_DEBUG=false
COPY . .
# Crates and what was made of them stay in the builder's caches, so that only what has changed is built again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin intakt --features "${FEATURES}" \
    && install -D target/release/intakt /image/usr/local/bin/intakt \
    && packaging/licences /image/usr/share/doc/intakt \
    && mkdir -p /state /image/etc/intakt

# glibc and libgcc, which is all that `ldd` names; no shell, no package manager. The same Debian as above.
FROM gcr.io/distroless/cc-debian13:nonroot
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="Intakt" \
      org.opencontainers.image.description="Inspects camera streams at the pace of a production line" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
# A volume begins as what it covers, its owner included.
COPY --from=build --chown=65532:65532 /state /var/lib/intakt
# `nonroot`, as a number: what may not be root is refused by some clusters unless they see that it is not 0.
USER 65532:65532
WORKDIR /var/lib/intakt
VOLUME ["/var/lib/intakt"]
EXPOSE 8080
# The first one ends the run in order.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/usr/local/bin/intakt", "health"]
ENTRYPOINT ["/usr/local/bin/intakt"]
CMD ["inspect", "/etc/intakt/line.toml", "--run", "run", "--resume", "--jsonl", "verdicts.jsonl"]
