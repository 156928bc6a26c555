/// Where the files of messages lie: `DATA/media/<position / 4096>/<position>-<index>`, so that no directory grows without end and
/// a name says whose it is.
package struct MediaFiles: Sendable {
    package static let directoryName = "media"
    /// Behind the name of one that is still being written.
    package static let partSuffix = ".part"

    /// The directory of all of them.
    package let root: String

    /// - Parameter directory: the data directory.
    package init(directory: String) { root = directory + "/" + MediaFiles.directoryName }

    /// - Parameter message: position of the message's record.
    package func directory(of message: LogPosition) -> String { "\(root)/\(message.rawValue / 4096)" }

    package func path(message: LogPosition, index: UInt32) -> String {
        directory(of: message) + "/" + MediaFiles.name(message: message, index: index)
    }

    package static func name(message: LogPosition, index: UInt32) -> String { "\(message.rawValue)-\(index)" }

    /// Nil for any name that `name` does not make.
    package static func parse(_ name: String) -> (message: LogPosition, index: UInt32)? {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let position = UInt64(parts[0]), let index = UInt32(parts[1]),
            MediaFiles.name(message: LogPosition(position), index: index) == name
        else { return nil }
        return (LogPosition(position), index)
    }
}
