import Glibc

/// A path that means the same to the gateway that runs, whatever its working directory.
package enum AbsolutePath {
    package static func of(_ path: String) -> String {
        if path.hasPrefix("/") { return path }
        guard let here = getcwd(nil, 0) else { return path }
        defer { free(here) }
        return String(cString: here) + "/" + path
    }
}
