import Glibc

/// How the descriptors that the process may have are shared out. The rest is for the log, keys, checkpoints, files that are being
/// read, threads' own, and connections that are about to be closed.
package struct DescriptorBudget: Equatable, Sendable {
    /// For everything that is not shared out.
    package static let reserve = 96
    /// Below it there is nothing to share out.
    package static let limitMin = 160
    /// More connections than this only for who asks for them: each holds memory.
    package static let connectionsMax = 10_000

    /// What one address may have of them, where the settings do not say it: many clients of one machine, and room for others.
    package static let connectionsPerAddressMax = 2000

    package let connections: Int
    /// Outgoing connections: webhooks, providers, and files from each of two drivers, which also hold a file each.
    package let deliveries: Int
    package let calls: Int
    package let files: Int

    private static let filesShare = 3

    /// - Parameter limit: of open descriptors.
    /// - Parameter asked: connections, as the settings have them; 0 for what is left.
    /// - Returns: nil when the limit is too low to work with.
    package init?(limit: Int, asked: Int, deliveries: Int, calls: Int, files: Int) {
        guard limit >= DescriptorBudget.limitMin else { return nil }
        let room = limit - DescriptorBudget.reserve
        let wanted = deliveries + calls + DescriptorBudget.filesShare * files
        let outgoing = min(wanted, room / 2)
        let share = { (part: Int) in max(4, part * outgoing / max(1, wanted)) }
        self.deliveries = share(deliveries)
        self.calls = share(calls)
        self.files = share(files)
        let taken = self.deliveries + self.calls + DescriptorBudget.filesShare * self.files
        let left = max(16, room - taken)
        connections = asked > 0 ? min(asked, left) : min(left, DescriptorBudget.connectionsMax)
    }

    /// - Parameter asked: as the settings have it; 0 for a share.
    package func connectionsPerAddress(asked: Int) -> Int {
        asked > 0 ? asked : min(DescriptorBudget.connectionsPerAddressMax, max(1, connections / 2))
    }

    /// What of the settings could not be had.
    package func isLess(than asked: Int) -> Bool { asked > connections }
}

/// The limit of open descriptors of this process.
enum DescriptorLimit {
    /// Some programs walk through all numbers below the limit; none of those that are used here, but no more is needed either.
    private static let useful: rlim_t = 1 << 20

    /// Raises the limit as far as it may be raised.
    ///
    /// - Returns: what it is now.
    static func raise() -> Int {
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return 1024 }
        let wanted = min(limit.rlim_max, useful)
        if limit.rlim_cur < wanted {
            var raised = limit
            raised.rlim_cur = wanted
            if setrlimit(resource, &raised) == 0 { limit = raised }
        }
        return Int(min(limit.rlim_cur, useful))
    }
}
