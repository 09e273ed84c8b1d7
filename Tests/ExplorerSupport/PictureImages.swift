// The images that every screen is pictured on: twelve kinds, made in memory by the engine and, where it cannot,
// by changing bytes. Every byte of them is the same in every run, on every machine.

import CellScreen
package import Explorer
internal import Qcow
internal import QcowFormat
package import Storage

/// An image of one kind, and the place that its pictures are about.
package enum PictureImage: String, CaseIterable, Sendable {
  case empty, full
  case version2 = "v2"
  case extendedL2 = "extended-l2"
  case chain, snapshots, bitmaps
  case externalData = "external-data"
  case encrypted, damaged
  case preallocated = "1t-preallocated"
  case nearlyEmpty = "1t-nearly-empty"

  /// Bytes of the disk, and of a cluster.
  package var virtualSize: UInt64 {
    switch self {
    case .full: 16 << 20
    case .preallocated, .nearlyEmpty: 1 << 40
    default: 64 << 20
    }
  }

  /// Where the cursor stands, on the disk.
  package var place: UInt64 {
    switch self {
    case .empty: 0
    case .damaged: 0x130000
    case .preallocated, .nearlyEmpty: 700 << 30
    default: 1 << 20
    }
  }

  /// The files of the image: its own, then what it needs to be opened.
  private struct Made {
    var image = MemoryStorage(name: "disk.qcow2")
    var backing: Image?
    var data: MemoryStorage?
  }

  /// The explorer on it, with what can be saved in memory, not scanned yet.
  package func explorer(width: Int, height: Int, glyphs: GlyphSet) throws -> Explorer {
    let made = try made()
    let files = MemoryFiles(image: made.image)
    files.data = made.data
    let session = try Session(
      made.image, title: "disk.qcow2", mode: .scratch, files: files, backing: made.backing,
      dataFile: made.data)
    return Explorer(session, files: files, width: width, height: height, glyphs: glyphs)
  }

  /// Its files: its own, then those that it needs, each under the name that the images have for it.
  package func files() throws -> [any Storage] {
    let made = try made()
    var files: [any Storage] = [made.image]
    var below = made.backing
    while let image = below {
      files.append(image.storage)
      below = image.layerBelow as? Image
    }
    if let data = made.data { files.append(data) }
    return files
  }

  /// A sum over the image file, for tests that compare two makings.
  package func fingerprint() throws -> UInt64 {
    let image = try made().image
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    var at: UInt64 = 0
    while at < image.length {
      let extent = image.extent(at: at)
      let end = min(extent.end, image.length)
      if !extent.isHole {
        for byte in try image.bytes(at: at, count: Int(end - at)) {
          hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
        }
      }
      hash = (hash ^ end) &* 0x0000_0100_0000_01b3
      at = end
    }
    return hash
  }

  private func options() -> CreateOptions {
    var options = CreateOptions(size: virtualSize)
    switch self {
    case .version2: options.version = 2
    case .extendedL2, .damaged: options.extendedL2 = true
    case .preallocated: options.preallocation = .metadata
    case .chain:
      options.backingFile = "mid.qcow2"
      options.backingFormat = "qcow2"
    default: break
    }
    return options
  }

  private func made() throws -> Made {
    var made = Made()
    switch self {
    case .damaged:
      made.image = MemoryStorage(name: "disk.qcow2", bytes: try DemoDamage.damaged.bytes())
    case .encrypted:
      made.image = try Self.locked(size: virtualSize)
    case .chain:
      var options = CreateOptions(size: 48 << 20)
      let base = MemoryStorage(name: "base.qcow2")
      try Image.create(on: base, options)
      try Self.changing(base) { image in
        try image.fill(1, at: 0, 2 << 20)
        try image.fill(2, at: 40 << 20, 1 << 20)
      }
      options.size = 64 << 20
      options.backingFile = "base.qcow2"
      options.backingFormat = "qcow2"
      let middle = MemoryStorage(name: "mid.qcow2")
      try Image.create(on: middle, options)
      try Self.changing(middle, over: try Image(base)) { image in
        try image.fill(3, at: 1 << 20, 256 << 10)
        try image.writeZeroes(at: GuestOffset(4 << 20), count: ByteCount(128 << 10), mayUnmap: true)
      }
      try Image.create(on: made.image, self.options())
      var opening = Image.Options()
      opening.backing = try Image(base)
      made.backing = try Image(middle, options: opening)
      try Self.changing(made.image, over: made.backing) { image in
        try image.fill(4, at: 1 << 20, 64 << 10)
        try image.fill(5, at: (1 << 20) + (192 << 10), 4 << 10)
        try image.fill(6, at: 50 << 20, 64 << 10)
      }
    case .externalData:
      let data = MemoryStorage(name: "disk.raw")
      var options = options()
      options.dataFile = ("disk.raw", data)
      options.dataFileRaw = true
      try Image.create(on: made.image, options)
      try Self.changing(made.image, data: data) { image in try fill(image) }
      made.data = data
    default:
      try Image.create(on: made.image, options())
      try Self.changing(made.image) { image in try fill(image) }
      if self == .bitmaps { try Self.leaveInUse(made.image, "broken") }
    }
    return made
  }

  private static func changing(
    _ storage: MemoryStorage, over backing: Image? = nil, data: MemoryStorage? = nil, secret: Secret? = nil,
    _ body: (Image) throws -> Void
  ) throws {
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.backing = backing
    options.dataFile = data
    options.secret = secret
    let image = try Image(storage, options: options)
    try body(image)
    try image.close()
  }

  /// What the guest and its tools did to the new image.
  private func fill(_ image: Image) throws {
    switch self {
    case .full:
      // Two halves, so that the order in the file is not that of the disk.
      try image.fill(1, at: 8 << 20, 8 << 20)
      try image.fill(2, at: 0, 8 << 20)
    case .version2, .externalData:
      try image.fill(1, at: 0, 192 << 10)
      try image.fill(2, at: 1 << 20, 64 << 10)
      try image.discard(at: GuestOffset(64 << 10), count: ByteCount(64 << 10))
      guard self == .version2 else { return }
      let bytes = [UInt8](repeating: 7, count: 128 << 10)
      try bytes.withUnsafeBytes {
        try image.writeCompressed($0, at: GuestOffset(4 << 20), packed: nil)
        try image.writeCompressed(
          UnsafeRawBufferPointer(rebasing: $0[..<0]), at: GuestOffset(0), packed: nil)
      }
    case .extendedL2:
      try image.fill(1, at: 0, 4 << 10)
      try image.fill(2, at: 1 << 20, 200 << 10)
      try image.writeZeroes(at: GuestOffset(2 << 20), count: ByteCount(8 << 10), mayUnmap: false)
      try image.fill(3, at: 5 << 20, 64 << 10)
      try image.discard(at: GuestOffset(5 << 20), count: ByteCount(64 << 10))
      try image.fill(4, at: 40 << 20, 130 << 10)
    case .snapshots:
      try image.fill(1, at: 0, 1 << 20)
      try image.createSnapshot(name: "installed", seconds: 1_768_209_240, nanoseconds: 0)
      try image.fill(2, at: 1 << 20, 512 << 10)
      let state = [UInt8](repeating: 9, count: 200 << 10)
      try state.withUnsafeBytes { try image.writeState($0, at: ByteCount(0)) }
      try image.createSnapshot(name: "before-upgrade", seconds: 1_772_491_200, nanoseconds: 5_000_000)
      try image.fill(3, at: 512 << 10, 768 << 10)
      try image.discard(at: GuestOffset(0), count: ByteCount(128 << 10))
      try image.createSnapshot(name: "bisect", seconds: 1_772_524_860, nanoseconds: 0)
      try image.fill(4, at: 20 << 20, 320 << 10)
    case .bitmaps:
      try image.fill(1, at: 0, 192 << 10)
      try image.changeBitmaps(.add("daily", granularity: ByteCount(64 << 10), recordsWrites: true))
      try image.changeBitmaps(.add("weekly", granularity: ByteCount(1 << 20), recordsWrites: true))
      try image.fill(2, at: 1 << 20, 192 << 10)
      try image.changeBitmaps(.setRecording("weekly", false))
      try image.fill(3, at: 30 << 20, 2 << 20)
      try image.changeBitmaps(.add("broken", granularity: ByteCount(64 << 10), recordsWrites: false))
    case .preallocated:
      try image.fill(1, at: 0, 64 << 10)
      try image.fill(2, at: 700 << 30, 1 << 20)
    case .nearlyEmpty:
      try image.fill(1, at: 0, 64 << 10)
      try image.fill(2, at: 700 << 30, 192 << 10)
      try image.fill(3, at: (1 << 40) - (64 << 10), 64 << 10)
    default: break
    }
  }

  /// A bitmap that its last user did not store: the flag in its directory entry.
  private static func leaveInUse(_ storage: MemoryStorage, _ name: String) throws {
    let bytes = try storage.contents()
    let word = Array(name.utf8)
    guard
      let at = bytes.indices.last(where: {
        $0 + word.count <= bytes.count && bytes[$0] == word[0]
          && Array(bytes[$0..<$0 + word.count]) == word
      })
    else { return }
    // Table offset, size, flags, type, granularity, length of the name, length of extra data: 24 bytes before it.
    try storage.write([0, 0, 0, 1], at: UInt64(at - 12))
  }

  /// An image whose key nobody has any more: header and data of the encryption are as good as random, and the
  /// same in every run.
  private static func locked(size: UInt64) throws -> MemoryStorage {
    let storage = MemoryStorage(name: "disk.qcow2")
    let word = Array("word".utf8)
    let secret = word.withUnsafeBytes { Secret(copying: $0) }
    var options = CreateOptions(size: size)
    var encryption = NewEncryption(.luks, secret)
    encryption.milliseconds = 1
    options.encryption = encryption
    try Image.create(on: storage, options)
    let header = try Image(storage).extensions.encryption
    try changing(storage, secret: secret) { image in
      try image.fill(1, at: 0, 192 << 10)
      try image.fill(2, at: 1 << 20, 64 << 10)
    }
    guard let header else { return storage }
    var random = Noise()
    var luks = try LUKSHeader(
      parsing: try storage.bytes(at: header.offset, count: LUKSHeader.size))
    luks.uuid = "3f2a0c1e-5b77-4d0a-9c1b-0d6a52f1e8aa"
    luks.digestIterations = 1000
    luks.digest = random.bytes(LUKSHeader.digestSize)
    luks.digestSalt = random.bytes(LUKSHeader.saltSize)
    luks.slots[0].iterations = 150_000
    luks.slots[0].salt = random.bytes(LUKSHeader.saltSize)
    try storage.write(luks.encoded, at: header.offset)
    try storage.write(
      random.bytes(Int(luks.keyMaterialSize)), at: header.offset + luks.slots[0].keyOffset)
    // The clusters of data, by way of the tables.
    let image = try Image(storage)
    for guest in [0, 65536, 131_072, 1 << 20] as [UInt64] {
      let run = try image.mapping(at: GuestOffset(guest), limit: ByteCount(65536))
      guard let host = run.host else { continue }
      try storage.write(random.bytes(65536), at: host.value)
    }
    return storage
  }
}

/// Bytes that look like random ones.
private struct Noise {
  private var state: UInt64 = 0x9e37_79b9_7f4a_7c15

  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt8(truncatingIfNeeded: state >> 56)
    }
  }
}

extension Image {
  fileprivate func fill(_ pattern: UInt8, at offset: UInt64, _ count: UInt64) throws {
    let bytes = [UInt8](repeating: pattern, count: Int(count))
    try bytes.withUnsafeBytes { try write($0, at: GuestOffset(offset)) }
  }
}
