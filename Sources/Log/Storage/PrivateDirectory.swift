import Glibc

/// What only the gateway's user may look into or write to. Files have mode 600, but whoever may write to their directory can
/// put others in their place, and whoever may read it sees how many there are and when they change.
package enum PrivateDirectory {
    /// Makes a data directory that was given empty its owner's alone, as one that is not there will be made.
    ///
    /// - Throws: as `check`.
    package static func claim(_ path: String) throws(LogError) {
        adopt(path)
        try check(path)
    }

    /// The same, and leaves it to others to refuse one that is not empty.
    package static func adopt(_ path: String) {
        if isAdoptable(path) { chmod(path, 0o700) }
    }

    /// - Throws: `openToOthers` when a data directory that is not empty can be read or written by anybody but its owner.
    package static func check(_ path: String) throws(LogError) {
        guard let mode = mode(of: path), mode & 0o066 != 0, !isAdoptable(path) else { return }
        throw LogError(
            .openToOthers,
            "the data directory \(path) is open to other users (mode \(String(mode & 0o7777, radix: 8))); run chmod 700 on it, "
                + "or give a directory inside it, which is then made with that mode"
        )
    }

    /// - Throws: `openToOthers` when others may put another file in place of the one at `path`. A directory in which only the
    ///   owner of a file may replace it, as /tmp, is none of those.
    static func checkParent(of path: String, _ name: String) throws(LogError) {
        let parent = PosixStorage().parent(of: path)
        guard let mode = mode(of: parent), mode & 0o022 != 0, mode & S_ISVTX == 0 else { return }
        throw LogError(
            .openToOthers,
            "other users may replace the \(name) file, for they may write to \(parent) "
                + "(mode \(String(mode & 0o7777, radix: 8))); run chmod go-w on that directory, or move the file"
        )
    }

    /// Whether it is ours, open to others, and holds nothing that anybody could have read or put there.
    private static func isAdoptable(_ path: String) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_mode & 0o066 != 0,
            status.st_uid == geteuid(), let names = try? PosixStorage().list(path)
        else { return false }
        return names.isEmpty
    }

    /// Nil where there is nothing, or it cannot be looked at.
    private static func mode(of path: String) -> mode_t? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode : nil
    }
}
