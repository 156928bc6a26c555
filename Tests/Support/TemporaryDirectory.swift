import Glibc

/// A directory on the real disk that is removed, with what is in it, when the last reference goes.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init() {
        var template = Array("/tmp/waybill-test-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { preconditionFailure("could not make a directory in /tmp") }
        path = String(cString: made)
    }

    deinit { TemporaryDirectory.remove(path) }

    private static func remove(_ path: String) {
        guard let handle = opendir(path) else { return }
        defer { closedir(handle) }
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." { continue }
            if unlink(path + "/" + name) != 0 { remove(path + "/" + name) }
        }
        rmdir(path)
    }
}
