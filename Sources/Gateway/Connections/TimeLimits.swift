package import Log

/// How long the other side of a connection may take for each part of a request.
package struct TimeLimits: Sendable {
    /// From the connection, or from the first byte of its next request, to the end of the header. It covers the handshake of TLS
    /// and the preface of HTTP/2.
    package var header = Duration.seconds(15)
    /// Between two requests. Longer than what ends an idle connection politely: this is for one that does not take part in that.
    package var idle = Duration.seconds(80)
    /// For a body, while it is waited for.
    package var body = Patience(start: .seconds(30), most: .seconds(30), bytesPerSecond: 16 << 10)
    /// For taking an answer. A socket takes what it has room for in large pieces, so what is earned may be kept longer.
    package var answer = Patience(start: .seconds(30), most: .seconds(60), bytesPerSecond: 16 << 10)
    /// For the rest of what was on its way when the last answer of a connection was given.
    package var linger = Duration.seconds(2)
    package var lingerBytesMax = 16 << 20
    /// A body that was not wanted is read to its end up to here, so that the connection can go on.
    package var unwantedBytesMax = 64 << 10
    package var now: @Sendable () -> BootTime = { BootTime.now }

    package init() {}
}

/// How long somebody is still waited for. Waiting uses it up, and every byte that comes earns some: what is as slow as
/// `bytesPerSecond` may go on, what is slower has an end.
package struct Patience: Sendable {
    private let most: Duration
    private let perByte: Duration
    package private(set) var left: Duration

    package init(start: Duration, most: Duration, bytesPerSecond: Int) {
        self.most = most
        perByte = .nanoseconds(1_000_000_000 / Int64(max(1, bytesPerSecond)))
        left = start
    }

    package var isOver: Bool { left <= .zero }

    package mutating func use(_ time: Duration) { left -= time }

    package mutating func earn(_ bytes: Int) { left = min(most, left + perByte * min(bytes, 1 << 30)) }
}
