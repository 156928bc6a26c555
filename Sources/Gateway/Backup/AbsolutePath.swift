import Glibc

/// A path that means the same to the gateway that runs, whatever its working directory.
package enum AbsolutePath {
    package static func of(_ path: String) -> String {
        if path.hasPrefix("/") { return path }
        guard let here = getcwd(nil, 0) else { return path }
        defer { free(here) }
        return String(cString: here) + "/" + path
    }

    /// Where a path leads in the end: without links and `..`. As far as nothing is there yet, it is taken as it is written.
    static func resolved(_ path: String) -> String {
        if let real = realpath(path, nil) {
            defer { free(real) }
            return String(cString: real)
        }
        var text = of(path)[...]
        while text.count > 1, text.last == "/" { text.removeLast() }
        guard let slash = text.lastIndex(of: "/"), slash != text.startIndex else { return String(text) }
        let parent = resolved(String(text[..<slash]))
        return (parent == "/" ? "" : parent) + String(text[slash...])
    }

    /// Whether a file lies, or would be made, below a directory, whatever ways lead to the two.
    static func lies(_ path: String, in directory: String) -> Bool {
        resolved(path).hasPrefix(resolved(directory) + "/")
    }
}
