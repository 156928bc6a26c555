// swift-tools-version: 6.2
// The log and its tests alone, for `scripts/sanitize`.
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
    name: "waybill",
    platforms: [.macOS(.v15)],
    targets: [
        .systemLibrary(name: "CLZ4"),
        .systemLibrary(name: "COpenSSL"),
        .target(name: "CPKCS11"),
        .target(name: "CWaybill"),
        .target(name: "Log", dependencies: ["CLZ4", "COpenSSL", "CPKCS11", "CWaybill"], swiftSettings: settings),
        .target(name: "TestSupport", dependencies: ["Log"], path: "Tests/Support", swiftSettings: settings),
        .target(name: "CTestSupport", path: "Tests/CTestSupport"),
        .testTarget(
            name: "LogTests",
            dependencies: ["Log", "TestSupport", "CTestSupport"],
            swiftSettings: settings
        ),
    ]
)
