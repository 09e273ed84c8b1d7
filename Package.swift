// swift-tools-version: 6.2

import PackageDescription

/// The same strict settings for every Swift target.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

/// Test targets use the same settings but for memory-safety marks, which `#expect` expansions lack.
let testSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "qatlas",
  products: [
    .executable(name: "qatlas", targets: ["qatlas"]),
    .executable(name: "qatlas-bench", targets: ["qatlas-bench"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    // Ground floor: the system.
    .target(name: "CSys"),
    .systemLibrary(name: "CNcurses"),
    .systemLibrary(name: "CZlib"),
    .systemLibrary(name: "CZstd"),

    // The engine, bottom up.
    .target(name: "Storage", dependencies: ["CSys"], swiftSettings: strict),
    .target(name: "QcowFormat", swiftSettings: strict),
    .target(
      name: "Qcow", dependencies: ["Storage", "QcowFormat", "CZlib", "CZstd"],
      swiftSettings: strict),
    .target(
      name: "Cartography", dependencies: ["Storage", "QcowFormat", "Qcow"], swiftSettings: strict),

    // The screen.
    .target(name: "CellScreen", dependencies: ["CSys"], swiftSettings: strict),
    .target(
      name: "Explorer",
      dependencies: ["Storage", "QcowFormat", "Qcow", "Cartography", "CellScreen"],
      swiftSettings: strict),
    .target(
      name: "TerminalHost", dependencies: ["CSys", "CNcurses", "CellScreen"], swiftSettings: strict),

    // The programs.
    .executableTarget(
      name: "qatlas",
      dependencies: [
        "CSys", "Storage", "QcowFormat", "Qcow", "Cartography", "CellScreen", "Explorer", "TerminalHost",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], swiftSettings: strict),
    .executableTarget(
      name: "qatlas-bench", dependencies: ["CSys", "Storage", "QcowFormat", "Qcow", "Cartography"],
      swiftSettings: strict),

    // Tests.
    .testTarget(
      name: "CartographyTests", dependencies: ["Storage", "QcowFormat", "Qcow", "Cartography"],
      swiftSettings: testSettings),
  ]
)
