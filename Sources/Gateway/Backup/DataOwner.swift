import Glibc
import Log

/// Keeps root from leaving files among those of another user, whose gateway could not open them.
enum DataOwner {
    /// - Throws: `invalidRequest` for root, when another user's gateway has run on the data directory.
    static func check(_ directory: String) throws {
        let owner = PosixStorage().owner(of: directory + "/" + DirectoryLock.fileName)
        guard geteuid() == 0, let owner, owner != 0 else { return }
        throw GatewayError(
            .invalidRequest,
            "the files in \(directory) belong to user \(owner), whose gateway could not open what root makes; "
                + "run this as that user: sudo -u '#\(owner)' waybill …"
        )
    }
}
