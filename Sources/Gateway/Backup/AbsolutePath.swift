import Glibc

/// A path that means the same to the gateway that runs, whatever its working directory.
package enum AbsolutePath {
    package static func of(_ path: String) -> String {
        if path.hasPrefix("/") { return path }
        guard let here = getcwd(nil, 0) else { return path }
        defer { free(here) }
        return String(cString: here) + "/" + path
    }

    /// Where a path leads in the end: without links and `..`. One that leads nowhere is only made absolute.
    static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return of(path) }
        defer { free(real) }
        return String(cString: real)
    }
}
