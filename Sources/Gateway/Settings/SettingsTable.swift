import Log

/// Every setting. Parsing, `--check-config`, SIGHUP and `docs/settings.md` all read this table.
package enum SettingsTable {
    package static let all: [Setting] = process + providers + limits + log

    package static subscript(_ key: String) -> Setting? { all.first { $0.key == key } }

    // MARK: The process

    private static let process: [Setting] = [
        Setting(
            "data",
            "the path of a directory",
            .place(\.data),
            default: "none; it must be given",
            example: "/var/lib/waybill",
            "The data directory: the log and everything else that must not be lost."
        ),
        Setting(
            "listen",
            "HOST:PORT, [IPv6]:PORT, or :PORT for every address",
            listen,
            example: "[::1]:8443",
            "Where the API is served. `[::]` and no host take IPv4 too; port 0 lets the system choose."
        ),
        Setting(
            "public_url",
            "an http or https URL",
            publicURL,
            default: "made of `listen`",
            example: "https://waybill.example.com",
            "The URL that providers call. Twilio signs it, so it must be the very one."
        ),
        Setting(
            "key_root",
            "the path of a file or a PKCS #11 URI",
            keyRoot,
            default: "`root.key` in the data directory",
            example: "/etc/waybill/root.key",
            "The root key. Without it no body, identifier or secret can be read again."
        ),
        Setting(
            "log_key",
            "the path of a file",
            .place(\.logKey),
            default: "`log.key` in the data directory",
            example: "/etc/waybill/log.key",
            "The key that signs checkpoints."
        ),
        Setting(
            "tls.certificate",
            "the path of a PEM file, given together with tls.key",
            .text(\.tlsCertificate),
            example: "/etc/waybill/tls/fullchain.pem",
            reloads: true,
            "The certificate and what it is signed by; with it the API is served over HTTPS."
        ),
        Setting(
            "tls.key",
            "the path of a PEM file, given together with tls.certificate",
            .text(\.tlsKey),
            example: "/etc/waybill/tls/privkey.pem",
            reloads: true,
            "The private key of the certificate."
        ),
        Setting(
            "webhooks.allow_http",
            "true or false",
            .bool(\.webhooksAllowHTTP),
            example: "true",
            "Lets endpoints be plain http. For development."
        ),
        Setting(
            "webhooks.allow_cidrs",
            "a list of networks like 127.0.0.0/8",
            .networks(\.webhooksAllowCIDRs),
            example: "10.0.0.0/8,127.0.0.0/8",
            "Networks that endpoints may be in although they are not public; else an attempt ends in `address_refused`."
        ),
        Setting(
            "webhooks.header_prefix",
            "letters, digits and hyphens",
            .text(\.webhooksHeaderPrefix) { prefix in
                let isToken = prefix.utf8.allSatisfy { byte in
                    byte == 45 || (48...57).contains(byte) || (97...122).contains(byte | 32)
                }
                return isToken && !prefix.isEmpty
            },
            example: "Acme",
            "The name in `X-<prefix>-Signature` and the other headers of webhooks."
        ),
    ]

    private static let listen = SettingValue(
        read: { (settings, text) throws(SettingFault) in
            guard let address = ListenAddress(text) else { throw SettingFault() }
            settings.listenHost = address.host
            settings.listenPort = address.port
        },
        show: { $0.listen.description }
    )

    private static let publicURL = SettingValue(
        read: SettingValue.url(\.publicURL).read,
        // A port that the system chooses is not known yet.
        show: { $0.publicURL.isEmpty && $0.listenPort > 0 ? $0.localURL(port: $0.listenPort) : $0.publicURL }
    )

    private static let keyRoot = SettingValue(
        read: SettingValue.place(\.keyRoot).read,
        show: { RootKeys.shown($0.keyRoot) }
    )

    // MARK: Providers

    private static let providers: [Setting] = [
        Setting(
            "providers.twilio.base_url",
            "an http or https URL",
            .url(\.twilioBaseURL),
            example: "https://api.dublin.ie1.twilio.com",
            "Where Twilio's API is."
        ),
        Setting(
            "providers.graph.base_url",
            "an http or https URL",
            .url(\.graphBaseURL),
            example: "https://graph.facebook.com",
            "Where Meta's Graph API is: Messenger and WhatsApp."
        ),
        Setting(
            "providers.instagram.base_url",
            "an http or https URL",
            .url(\.instagramBaseURL),
            example: "https://graph.instagram.com",
            "Where the Graph API for Instagram Login is."
        ),
        Setting(
            "meta.app_id",
            "the number of an app at Meta",
            appID,
            example: "236484624622562",
            "The app that Embedded Signup is done with."
        ),
        Setting(
            "meta.app_secrets",
            "a list of app secrets",
            .list(\.metaAppSecrets),
            example: "<secret>,<older secret>",
            secret: true,
            reloads: true,
            "Any of them may have signed a webhook of Meta's; none: no webhook is accepted. The first is that of `meta.app_id`."
        ),
        Setting(
            "meta.verify_token",
            "text",
            .text(\.metaVerifyToken),
            example: "<random text>",
            secret: true,
            reloads: true,
            "What Meta must say when the webhook address is entered there."
        ),
        Setting(
            "ai.base_url",
            "an http or https URL",
            .url(\.aiBaseURL),
            example: "https://llm.example.com/v1",
            "An OpenAI-compatible chat endpoint. Known, not yet used."
        ),
        Setting("ai.model", "text", .text(\.aiModel), example: "small", "Its model. Known, not yet used."),
        Setting(
            "ai.api_key",
            "text",
            .text(\.aiKey),
            example: "<key>",
            secret: true,
            "Its API key. Known, not yet used."
        ),
    ]

    private static let appID = SettingValue(
        read: { (settings, text) throws(SettingFault) in
            let id = text.trimmingSpaces
            guard id.utf8.count <= 64, id.utf8.allSatisfy({ (48...57).contains($0) }) else { throw SettingFault() }
            settings.metaAppID = id
        },
        show: \.metaAppID
    )

    // MARK: Limits

    private static let limits: [Setting] = [
        Setting(
            "idempotency.retention",
            "a duration like 7d, 12h, 15m or 90s",
            .seconds(\.idempotencyRetention),
            example: "14d",
            reloads: true,
            "How long an idempotency key is remembered. A key keeps the time that it was accepted with."
        ),
        Setting(
            "sends.queue_max",
            "a whole number from 1 to 10000000",
            .integer(\.queueMax, in: 1...10_000_000),
            example: "20000",
            reloads: true,
            "Messages of one client that may wait; beyond it `queue_full`."
        ),
        Setting(
            "purge.inline_media_bytes",
            "a whole number from 0 to 67108864",
            .integer(\.inlineMediaBytes, in: 0...(64 << 20)),
            example: "4194304",
            "What the files of one webhook may have together in Inbound Body Purge."
        ),
        Setting(
            "media.allow_cidrs",
            "a list of networks like 127.0.0.0/8",
            .networks(\.mediaAllowCIDRs),
            example: "127.0.0.0/8",
            "Networks beyond the public ones that files may be fetched from, then also over plain http; else `address_refused`. "
                + "For development."
        ),
        Setting(
            "limits.connections",
            "a whole number from 0 to 1000000",
            .integer(\.connectionsMax, in: 0...1_000_000),
            example: "4000",
            "Connections that are open at once; 0 for what the limit of descriptors leaves."
        ),
        Setting(
            "limits.connections_per_address",
            "a whole number from 0 to 1000000",
            .integer(\.connectionsPerAddressMax, in: 0...1_000_000),
            example: "64",
            "Connections that one address may have; of IPv6, one network of 64 bits. 0 for half of all, at most 2000. Trusted proxies are "
                + "exempt."
        ),
        Setting(
            "limits.trusted_proxies",
            "a list of networks like 127.0.0.0/8",
            .networks(\.trustedProxies),
            example: "10.0.0.0/24",
            "Proxies whose `X-Forwarded-For` says where a request comes from."
        ),
        Setting(
            "limits.memory_bytes",
            "a whole number from 16777216 to 17179869184",
            .integer(\.requestMemoryBytes, in: 16 << 20...16 << 30),
            example: "268435456",
            "What all requests that are being worked on may hold in memory together; beyond it 503 with `Retry-After`."
        ),
        Setting(
            "limits.sends_per_second",
            "a whole number from 0 to 1000000",
            .integer(\.sendsPerSecond, in: 0...1_000_000),
            example: "50",
            reloads: true,
            "Sends of one client a second, ten seconds' worth or 2000 at once; 0 for what its plan has: creator 100, professional "
                + "500, business 1000. Beyond it 429 `rate_limited`."
        ),
        Setting(
            "limits.reads_per_second",
            "a whole number from 0 to 1000000",
            .integer(\.readsPerSecond, in: 0...1_000_000),
            example: "100",
            reloads: true,
            "Other requests of one client a second, likewise; 0 for what its plan has: creator 200, professional 500, business 1000."
        ),
    ]

    // MARK: The log

    private static let log: [Setting] = [
        Setting(
            "log.segment_bytes",
            "a multiple of 4096 from 1048576 to 1073741824",
            .integer(\.log.segmentBytes, in: 1 << 20...1 << 30, multipleOf: 4096),
            example: "268435456",
            "The size of one file of the log."
        ),
        Setting(
            "log.durability",
            "normal or strict",
            durability,
            example: "strict",
            "`strict` marks every group durable before its answer, at about twice the latency of one append."
        ),
        Setting(
            "log.origin",
            "a name like example.com/log, without spaces and +",
            .text(\.logOrigin) { $0.isEmpty || VerifierKey.isName($0) },
            default: "made of the log's id",
            example: "waybill.example.com/log",
            "The name of the log in its checkpoints."
        ),
        Setting(
            "log.sealing",
            "true or false",
            .bool(\.log.sealing),
            example: "false",
            "Rewrites full segments compressed, in the background."
        ),
        Setting(
            "log.scrub_interval",
            "never, or a duration like 7d, 12h, 15m or 90s",
            scrubInterval,
            example: "1d",
            "The time in which the whole log is read once, to find damage."
        ),
        Setting(
            "audit.public_tiles",
            "true or false",
            .bool(\.publicTiles),
            example: "true",
            "Shows checkpoint and tiles without a token."
        ),
    ]

    private static let durability = SettingValue(
        read: { (settings, text) throws(SettingFault) in
            guard let durability = LogConfiguration.Durability(rawValue: text) else { throw SettingFault() }
            settings.log.durability = durability
        },
        show: \.log.durability.rawValue
    )

    private static let scrubInterval = SettingValue(
        read: { (settings, text) throws(SettingFault) in
            settings.log.scrubInterval = text == "never" ? nil : .seconds(try SettingDuration.parse(text))
        },
        show: { settings in
            settings.log.scrubInterval.map { SettingDuration.text(UInt64(clamping: $0.components.seconds)) } ?? "never"
        }
    )
}
