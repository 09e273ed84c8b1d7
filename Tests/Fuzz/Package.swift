// swift-tools-version: 6.2

import PackageDescription

// The fuzzer is a package of its own, so that the main one never builds with a sanitizer. It compiles the
// same sources through links: `package` access ends at the border of a package, and so nothing of the
// engine has to be public for it.

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

func floor(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(
    name: name, dependencies: dependencies, path: "Sources/qatlas-sources/\(name)", swiftSettings: settings)
}

let package = Package(
  name: "qatlas-fuzz",
  targets: [
    .target(name: "CSys", path: "Sources/qatlas-sources/CSys"),
    .systemLibrary(name: "CZlib", path: "Sources/qatlas-sources/CZlib"),
    .systemLibrary(name: "CDeflate", path: "Sources/qatlas-sources/CDeflate"),
    .systemLibrary(name: "CZstd", path: "Sources/qatlas-sources/CZstd"),
    .systemLibrary(name: "CGcrypt", path: "Sources/qatlas-sources/CGcrypt"),
    floor("Storage", ["CSys"]),
    floor("QcowFormat", ["Storage"]),
    floor("Qcow", ["CSys", "Storage", "QcowFormat", "CZlib", "CDeflate", "CZstd", "CGcrypt"]),
    floor("Cartography", ["Storage", "QcowFormat", "Qcow"]),
    floor("ToolText", ["Storage", "QcowFormat", "Qcow", "Cartography"]),
    floor("CellScreen", ["CSys", "Storage"]),
    floor("Explorer", ["Storage", "QcowFormat", "Qcow", "Cartography", "ToolText", "CellScreen"]),
    .target(
      name: "FuzzTargets",
      dependencies: ["Storage", "QcowFormat", "Qcow", "Cartography", "ToolText", "Explorer"],
      swiftSettings: settings),
    .executableTarget(name: "fuzz", dependencies: ["FuzzTargets"], swiftSettings: settings),
  ]
)
