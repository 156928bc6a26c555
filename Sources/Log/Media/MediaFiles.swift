/// Where the media files of messages lie in a data directory: `media/<position / 4096>/<position>-<index>`, by the position of
/// the message and the number of the file in it.
///
/// A file has this name once it is whole and on disk, and never changes from then on. Until then `.part` follows the name.
package struct MediaFiles: Sendable {
    package static let directoryName = "media"
    package static let partSuffix = ".part"
    /// Positions whose files share a directory.
    private static let positionsPerDirectory: UInt64 = 4096

    /// The directory that holds the others.
    package let root: String

    /// - Parameter directory: the data directory.
    package init(directory: String) { root = directory + "/" + MediaFiles.directoryName }

    package func path(message: LogPosition, index: UInt32) -> String {
        directory(of: message) + "/" + MediaFiles.name(message: message, index: index)
    }

    package static func name(message: LogPosition, index: UInt32) -> String { "\(message.rawValue)-\(index)" }

    /// The directory of a message's files, and of those of its neighbours.
    package func directory(of message: LogPosition) -> String {
        root + "/" + String(message.rawValue / MediaFiles.positionsPerDirectory)
    }

    /// Nil unless this is the name of a whole file.
    package static func parse(_ fileName: String) -> (message: LogPosition, index: UInt32)? {
        let parts = fileName.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let position = UInt64(parts[0]), let index = UInt32(parts[1]),
            name(message: LogPosition(position), index: index) == fileName
        else { return nil }
        return (LogPosition(position), index)
    }
}
