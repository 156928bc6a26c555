package import Log

/// Every setting of the gateway, checked. The keys and defaults are those of the public contract.
package struct GatewayConfiguration: Sendable {
    package var data = ""
    /// Without brackets; empty for every address of the machine.
    package var listenHost = "127.0.0.1"
    package var listenPort = 8080
    /// The URL that providers call, without a slash at the end; it is part of what they sign.
    package var publicURL = ""
    package var keyRoot = ""
    /// The file of the key that signs checkpoints.
    package var logKey = ""
    /// The name under which checkpoints are signed; empty for one made of the log's id.
    package var logOrigin = ""
    /// Whether the checkpoint is shown without a token.
    package var publicTiles = false
    package var tlsCertificate = ""
    package var tlsKey = ""
    package var webhooksAllowHTTP = false
    package var webhooksAllowCIDRs: [IPNetwork] = []
    /// Networks beyond the public ones that files of messages may be fetched from, then also without TLS; for development.
    package var mediaAllowCIDRs: [IPNetwork] = []
    /// How much the files of one event may have together where they travel inside it, in bytes.
    package var inlineMediaBytes = 16 << 20
    package var webhooksHeaderPrefix = "ChatGenius"
    package var twilioBaseURL = "https://api.twilio.com"
    package var graphBaseURL = "https://graph.facebook.com"
    package var instagramBaseURL = "https://graph.instagram.com"
    /// The app at Meta that Embedded Signup is done with; empty for none.
    package var metaAppID = ""
    /// Any of them may have signed a webhook of Meta's; without one none is accepted. The first is the app's own.
    package var metaAppSecrets: [String] = []
    /// What Meta says when it asks whether the webhook address is ours; empty for none.
    package var metaVerifyToken = ""
    package var aiBaseURL = ""
    package var aiModel = ""
    package var aiKey = ""
    /// Seconds that an idempotency key is remembered.
    package var idempotencyRetention: UInt64 = 7 * 86_400
    /// Messages of one client that may wait to be sent.
    package var queueMax = 100_000
    /// Connections that are open at once; 0 for what the limit of descriptors leaves.
    package var connectionsMax = 0
    /// Of them, those of one address; 0 for a share.
    package var connectionsPerAddressMax = 0
    /// Proxies whose word on where a request comes from is taken.
    package var trustedProxies: [IPNetwork] = []
    /// What all requests that are being worked on may hold in memory, in bytes.
    package var requestMemoryBytes = 128 << 20
    /// Sends of one client a second; 0 for what its plan has.
    package var sendsPerSecond = 0
    /// Reads of one client a second; 0 for what its plan has.
    package var readsPerSecond = 0
    package var log = LogConfiguration()
    package var isSandbox = false
    package var version = WaybillVersion.current

    package init() {}

    package var listen: ListenAddress { ListenAddress(host: listenHost, port: listenPort) }

    /// What a program on this machine reaches the gateway at.
    package func localURL(port: Int) -> String {
        listen.url(scheme: tlsCertificate.isEmpty ? "http" : "https", port: port)
    }
}

package enum WaybillVersion {
    package static let current = "0.1.0"
}
