// Small images of every kind: versions, cluster sizes, refcount widths, and each extension.

import Qcow
import QcowFormat
import Storage

struct SeedImage {
  enum Extra { case nothing, snapshots, dirty, bitmaps, luks, aes, dataFile, unknown }

  var name: String
  var size: UInt64 = 96 << 10
  var clusterSize: UInt64 = 512
  var version: UInt32 = 3
  var extended = false
  var refcountBits = 16
  var compressionType: UInt8 = 0
  var lazy = false
  var backing: String?
  var extra = Extra.nothing

  static let all: [SeedImage] = [
    SeedImage(name: "plain"),
    SeedImage(name: "version2", version: 2),
    SeedImage(name: "snapshots", extra: .snapshots),
    SeedImage(name: "extended", size: 256 << 10, clusterSize: 16384, extended: true),
    SeedImage(name: "version2-snapshots", version: 2, extra: .snapshots),
    SeedImage(name: "cluster4k", size: 150_000, clusterSize: 4096, refcountBits: 64),
    SeedImage(name: "refcount1", refcountBits: 1),
    SeedImage(name: "refcount8-snapshots", clusterSize: 1024, refcountBits: 8, extra: .snapshots),
    SeedImage(name: "zstd", clusterSize: 2048, compressionType: 1),
    SeedImage(name: "lazy", lazy: true),
    SeedImage(name: "dirty", lazy: true, extra: .dirty),
    SeedImage(name: "backing", backing: "below.raw"),
    SeedImage(name: "backing-extended", size: 64 << 10, clusterSize: 16384, extended: true, backing: "b.raw"),
    SeedImage(name: "missing", backing: "json:{\"file\":{\"filename\":\"gone\"},\"driver\":\"qcow2\"}"),
    SeedImage(name: "bitmaps", extra: .bitmaps),
    SeedImage(name: "luks", clusterSize: 1024, extra: .luks),
    SeedImage(name: "aes", extra: .aes),
    SeedImage(name: "data-file", extra: .dataFile),
    SeedImage(name: "unknown-bits", extra: .unknown),
    SeedImage(name: "large-disk", size: 1 << 30, clusterSize: 4096),
    SeedImage(name: "empty", size: 0),
  ]

  /// The file.
  func bytes() throws -> [UInt8] {
    let storage = MemoryStorage()
    var options = Image.CreateOptions(size: size)
    options.clusterSize = clusterSize
    options.version = version
    options.extendedL2 = extended
    options.refcountBits = refcountBits
    options.compressionType = compressionType
    options.lazyRefcounts = lazy
    options.backingFile = backing
    options.backingFormat = backing == nil || backing?.hasPrefix("json") == true ? nil : "raw"
    if extra == .dataFile { options.dataFile = ("data.raw", MemoryStorage()) }
    try Image.create(on: storage, options)
    if size > 0, backing?.hasPrefix("json") != true { try fill(storage) }
    switch extra {
    case .bitmaps: try addBitmaps(to: storage)
    case .luks: try addEncryption(to: storage)
    case .aes: try storage.write([0, 0, 0, 1], at: 32)
    case .unknown:
      // Autoclear and compatible bits that nobody knows, and an extension behind the others.
      try storage.write([0x80, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], at: 80)
    default: break
    }
    return try storage.bytes(at: 0, count: Int(storage.length))
  }

  /// Something of every kind of cluster.
  private func fill(_ storage: MemoryStorage) throws {
    let image = try writableImage(storage)
    let unit = clusterSize
    func write(_ offset: UInt64, _ count: UInt64, _ byte: UInt8) throws {
      let bytes = [UInt8](repeating: byte, count: Int(count))
      try bytes.withUnsafeBytes { try image.write($0, at: GuestOffset(offset)) }
    }
    try write(0, min(2 * unit, 20000), 1)
    if extra != .dataFile, size >= 8 * unit {
      let whole = (0..<unit).map { UInt8(truncatingIfNeeded: $0 >> 6) }
      try whole.withUnsafeBytes { try image.writeCompressed($0, at: GuestOffset(4 * unit)) }
      try whole.withUnsafeBytes { try image.writeCompressed($0, at: GuestOffset(5 * unit)) }
    }
    try image.writeZeroes(
      at: GuestOffset(2 * unit), count: ByteCount(min(unit, size - 2 * unit)), mayUnmap: false)
    if extra == .snapshots {
      try image.createSnapshot(name: "s0", seconds: 1_700_000_000, nanoseconds: 5)
      try write(unit / 2, unit, 2)
      try image.createSnapshot(name: "s1", seconds: 1_700_000_001, nanoseconds: 6)
      try write(size - 700, 700, 3)
    } else if size < 1 << 20 {
      try write(size / 2 + 100, 900, 4)
      try image.discard(at: GuestOffset(unit), count: ByteCount(unit))
    }
    if extra == .dirty { try image.flush() } else { try image.close() }
  }

  // MARK: What the engine does not make

  private func header(of storage: MemoryStorage) throws -> Header {
    try Header(parsing: storage.bytes(at: 0, count: Header.version3Length))
  }

  /// Puts an extension in front of the others.
  private func insert(_ type: UInt32, _ data: [UInt8], into storage: MemoryStorage) throws {
    let start = Int(try header(of: storage).headerLength)
    let old = try storage.bytes(at: UInt64(start), count: Int(clusterSize) - start)
    var bytes: [UInt8] = []
    BigEndian.append(UInt64(type), width: 4, to: &bytes)
    BigEndian.append(UInt64(data.count), width: 4, to: &bytes)
    bytes += data + [UInt8](repeating: 0, count: (8 - data.count % 8) % 8)
    // The table of feature names does not fit beside it into the smallest cluster, and nobody needs it.
    if bytes.count + old.count <= Int(clusterSize) - start || clusterSize > 512 { bytes += old }
    bytes += [UInt8](repeating: 0, count: 16)
    try storage.write(Array(bytes.prefix(Int(clusterSize) - start)), at: UInt64(start))
  }

  /// Clusters behind the end, with a refcount of 1.
  private func append(_ bytes: [UInt8], to storage: MemoryStorage) throws -> UInt64 {
    let place = (storage.length + clusterSize - 1) / clusterSize * clusterSize
    let length = (UInt64(bytes.count) + clusterSize - 1) / clusterSize * clusterSize
    try storage.write(bytes + [UInt8](repeating: 0, count: Int(length) - bytes.count), at: place)
    let table = try header(of: storage).refcountTableOffset
    let block = BigEndian.u64(try storage.bytes(at: table, count: 8), 0)
    for cluster in place / clusterSize..<(place + length) / clusterSize {
      try storage.write([0, 1], at: block + 2 * cluster)
    }
    return place
  }

  private func addBitmaps(to storage: MemoryStorage) throws {
    var table: [UInt8] = []
    BigEndian.append(1, width: 8, to: &table)
    let tablePlace = try append(table, to: storage)
    var entry: [UInt8] = []
    BigEndian.append(tablePlace, width: 8, to: &entry)
    BigEndian.append(1, width: 4, to: &entry)
    // Flags: in use; type 1; granularity 64 KiB; a name of 4 bytes.
    BigEndian.append(1, width: 4, to: &entry)
    entry += [1, 16, 0, 4, 0, 0, 0, 0] + Array("dirt".utf8) + [0, 0, 0, 0]
    let directory = try append(entry, to: storage)
    var data: [UInt8] = []
    BigEndian.append(1, width: 4, to: &data)
    BigEndian.append(0, width: 4, to: &data)
    BigEndian.append(UInt64(entry.count), width: 8, to: &data)
    BigEndian.append(directory, width: 8, to: &data)
    try insert(0x2385_2875, data, into: storage)
    try storage.write([0, 0, 0, 0, 0, 0, 0, 1], at: 88)
  }

  /// A LUKS header whose one key is spread over stripes of zeroes, which lie behind the end of the file.
  private func addEncryption(to storage: MemoryStorage) throws {
    let bytes = SeedEncryption.header()
    let place = try append(bytes, to: storage)
    var data: [UInt8] = []
    BigEndian.append(place, width: 8, to: &data)
    BigEndian.append(SeedEncryption.areaLength, width: 8, to: &data)
    try insert(0x0537_be77, data, into: storage)
    try storage.write([0, 0, 0, 2], at: 32)
  }
}
