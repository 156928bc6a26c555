import Glibc
import Log

/// Keeps root from leaving files among those of another user, whose gateway could not open them.
///
/// Every command that writes asks, `serve` included: what root makes has mode 600, so that one new segment, key state or
/// signing key is enough to keep the other user's next start from opening the log. A root key needs no check of its own: its
/// file is overwritten in place and stays its owner's.
package enum DataOwner {
    /// - Throws: `invalidRequest` for root, when another user's gateway has run on the data directory.
    package static func check(_ directory: String) throws(GatewayError) {
        // The lock is made once, by the first who writes, and never replaced.
        let owner = PosixStorage().owner(of: directory + "/" + DirectoryLock.fileName)
        guard geteuid() == 0, let owner, owner != 0 else { return }
        throw GatewayError(
            .invalidRequest,
            "the files in \(directory) belong to user \(owner), whose gateway could not open what root makes; "
                + "run this as that user: sudo -u '#\(owner)' waybill …"
        )
    }
}
