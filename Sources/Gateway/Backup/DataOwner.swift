import Glibc
import Log

/// Keeps root from leaving files among those of another user, whose gateway could not open them.
enum DataOwner {
    /// - Throws: `invalidRequest` for root, when another user's gateway has run on the data directory.
    static func check(_ directory: String) throws {
        var status = stat()
        guard geteuid() == 0, stat(directory + "/" + DirectoryLock.fileName, &status) == 0, status.st_uid != 0 else {
            return
        }
        throw GatewayError(
            .invalidRequest,
            "the files in \(directory) belong to user \(status.st_uid), whose gateway could not open what root makes; "
                + "run this as that user: sudo -u '#\(status.st_uid)' waybill …"
        )
    }
}
