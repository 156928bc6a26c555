/// Outgoing HTTP for files, apart from what sends and delivers: the threads of these also write to the disk.
///
/// Two, because a connection that was opened without a check must not carry what needs one.
package struct MediaDrivers: Sendable {
    /// For origins of the operator's settings.
    private let configured: CurlDriver
    /// For all others: checks addresses.
    private let open: CurlDriver

    /// - Parameter allowed: networks beyond the public ones.
    package init(allowed: [IPNetwork], connectionsMax: Int = MediaService.inFlightMax) throws(TransferError) {
        configured = try MediaDrivers.driver(policy: nil, connectionsMax)
        open = try MediaDrivers.driver(policy: AddressPolicy(allowed: allowed), connectionsMax)
    }

    private static func driver(policy: AddressPolicy?, _ connectionsMax: Int) throws(TransferError) -> CurlDriver {
        try CurlDriver(
            policy: policy,
            connectionsMax: connectionsMax,
            connectionsPerHostMax: connectionsMax,
            // An answer about where a file is, or why it is not to be had.
            bodyBytesMax: 64 << 10,
            usesHTTP2: false
        )
    }

    func driver(_ way: MediaAccess.Way) -> CurlDriver {
        switch way {
        case .configured: configured
        case .open: open
        }
    }

    package func shutdown() async {
        await configured.shutdown()
        await open.shutdown()
    }
}
