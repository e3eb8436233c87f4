"""Settings of a process: read once at start from `TREADLE_*`, frozen, secrets never printed."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from mesh.limits import MAX_MESSAGE_BYTES


class Settings(BaseSettings):
    """Everything a process is told from outside. Each field is `TREADLE_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="TREADLE_", frozen=True, extra="ignore")

    home: Path = Field(Path(".treadle"), description="Data directory of the local stack; holds keys and logs")
    instance: str = Field("", description="Name of this process in logs and leases; made from the pid when empty")

    grpc_address: str = Field("127.0.0.1:0", description="Where the gRPC door listens: host:port or unix:/path")
    http_address: str = Field("127.0.0.1:0", description="Where the HTTP door listens: host:port or unix:/path")
    service_targets: str = Field("", description="gRPC target per service, `graph=127.0.0.1:7001,auth=unix:/run/auth.sock`")
    default_target: str = Field("", description="gRPC target of services that `service_targets` does not name; own door when empty")

    database_url: SecretStr = Field(SecretStr(""), description="PostgreSQL superuser or owner URL: postgresql://user:pw@host:port/db")
    database_pool_size: int = Field(8, ge=1, le=200, description="Connections per pool")
    nats_url: str = Field("nats://127.0.0.1:4222", description="NATS with JetStream")
    cache_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Valkey or Redis")

    service_key: SecretStr = Field(SecretStr(""), description="Base64 of 32 bytes that sign tokens between services (solo profile)")
    master_key: SecretStr = Field(SecretStr(""), description="Base64 of 32 bytes that encrypt keys and credentials at rest")
    issuer: str = Field("https://treadle.local", description="`iss` of access tokens")
    access_token_ttl_s: int = Field(900, ge=30, le=86400, description="Life of an access token")
    signing_key_ahead_s: float = Field(
        330.0, ge=0, description="How long a new signing key is published before it signs; longer than the edge keeps the published keys"
    )
    signing_key_max_age_s: float = Field(90 * 86400.0, ge=0, description="Age at which a signing key is replaced; 0 is never")
    public_url: str = Field("http://127.0.0.1:8080", description="Where people reach the edge; links in mails begin with it")
    mail_folder: str = Field("", description="Folder into which mails are written as files; none are when empty")
    oidc_providers: SecretStr = Field(
        SecretStr(""), description='OpenID Connect providers as JSON: {"name": {"issuer": …, "client_id": …, "client_secret": …}}'
    )
    owner_email: str = Field("", description="Address of an account that is an administrator from its start; register it first")
    refresh_token_ttl_s: int = Field(30 * 86400, ge=60, description="Life of a refresh token")

    retention_audit_days: int = Field(365, ge=0, description="Age at which audit records are forgotten; 0 is never")
    retention_executions_days: int = Field(0, ge=0, description="Age, since their end, at which executions are forgotten; 0 is never")
    retention_sessions_days: int = Field(30, ge=0, description="Age, since their end, at which sign-ins are forgotten; 0 is never")

    edge_cors_origins: str = Field("", description="Origins of pages that may call, such as `https://*.app.example`; local ones when empty")
    edge_tls_listen: str = Field("", description="host:port where the edge speaks TLS, beside its plain port")
    edge_tls_certificate: Path | None = Field(None, description="PEM chain of the edge; replace it by moving a new file over it")
    edge_tls_key: Path | None = Field(None, description="PEM key of the edge; moved over likewise, before the certificate")
    edge_allow_addresses: str = Field("", description="Networks whose clients are let in, `10.0.0.0/8,2001:db8::/32`; all when empty")
    edge_deny_addresses: str = Field("", description="Networks whose clients are refused")
    edge_trusted_hops: int = Field(0, ge=0, le=10, description="Proxies before the edge whose `x-forwarded-for` is believed")
    edge_geoip_database: Path | None = Field(None, description="MaxMind country database (.mmdb); reloaded when a new one is moved over it")
    edge_deny_countries: str = Field("", description="ISO codes of countries whose clients are refused; needs the database")

    max_message_bytes: int = Field(MAX_MESSAGE_BYTES, ge=1024, description="Largest request, at the edge and at both doors")
    max_concurrent_calls: int = Field(1000, ge=1, description="Unary calls at work in this process; more are refused with RetryInfo")
    max_concurrent_streams: int = Field(4000, ge=1, description="Streams open in this process; more are refused with RetryInfo")
    drain_s: float = Field(10.0, ge=0, description="How long a stopping process finishes what it has in hand")
    watchdog_s: float = Field(
        10.0, ge=0, description="How long the event loop may stand still before the process ends, to be started anew; 0 is for ever"
    )
    drain_notice_s: float = Field(0.0, ge=0, description="Pause between NOT_SERVING and the stop, for load balancers to notice")

    max_sockets: int = Field(5000, ge=1, description="WebSockets that one gateway process serves at the same time")
    max_sockets_per_user: int = Field(2500, ge=1, description="Of these, sockets of one user")
    graphql_introspection: bool = Field(True, description="Whether clients may ask GraphQL for its schema")
    graphql_max_depth: int = Field(12, ge=1, description="Fields below one another in a GraphQL request")
    graphql_max_cost: int = Field(50_000, ge=1, description="Values that a GraphQL request may ask for, lists counted by their page size")

    worker_slots: int = Field(128, ge=1, description="Executions that a worker runs at the same time; an owner may fill seven eighths")
    max_running_per_user: int = Field(256, ge=1, description="Executions of one user at work at the same time; more stay queued")
    lease_s: float = Field(2.5, gt=0, description="Life of a worker's lease on an execution")
    heartbeat_s: float = Field(0.75, gt=0, description="How often a worker renews its leases")
    sweep_s: float = Field(0.5, gt=0, description="How often lost executions are looked for")
    max_parallel_nodes: int = Field(100, ge=1, description="Firings of one execution at work at the same time")
    max_tree_executions: int = Field(1000, ge=1, description="Executions of nested agents under one execution, itself included")
    max_depth: int = Field(16, ge=0, description="How deep executions of nested agents go")
    max_emissions: int = Field(1_000_000, ge=1, description="Values that one execution may emit in all")
    max_open_firings: int = Field(500_000, ge=1, description="Firings of one execution that wait or are at work; they take up to 1 kB each")
    max_value_bytes: int = Field(256 * 1024 * 1024, ge=1, description="Values of one execution in all, as JSON text")
    max_run_s: float = Field(86400.0, gt=0, description="Longest work on one execution; the time it is parked does not count")
    node_timeout_s: float = Field(1800.0, gt=0, description="Longest run of one firing")
    http_block_allow_hosts: str = Field("", description="Hosts (`host` or `host:port`, comma-separated) the SSRF guard lets through")

    test_hooks: str = Field("", description="Faults for tests at named points of a worker, `journal.commit.after:kill:3`; see its hooks")

    log_level: str = Field("info", description="debug, info, warning or error")
    log_format: str = Field("json", description="json or text")
    otlp_endpoint: str = Field("", description="OTLP/gRPC endpoint for traces and metrics; off when empty")
    trace_sample_ratio: float = Field(0.01, ge=0, le=1, description="Share of traces that are recorded")

    def environment(self) -> dict[str, str]:
        """What gives a child process the same settings: `TREADLE_<NAME>` for each, secrets included. Not to be shown."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            f"{self.model_config['env_prefix']}{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in values.items()
            if value is not None
        }
