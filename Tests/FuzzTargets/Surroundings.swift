// What an image finds around itself when a target opens it: a host that does not give it endless room,
// files below and beside it, and a passphrase.

import Qcow
import QcowFormat
import Storage

/// Memory that runs full, as a disk does.
final class SmallStorage: Storage {
  /// The longest file that many file systems take, and one whose clusters are counted quickly.
  static let longest: UInt64 = 1 << 44
  static let short: UInt64 = 1 << 28

  private let limit: UInt64
  private let memory = MemoryStorage(name: "image")
  /// Bytes that may still be written, over and over ones counted each time.
  private var left: UInt64

  init(_ bytes: [UInt8], limit: UInt64 = short, room: UInt64 = 24 << 20) {
    self.limit = limit
    left = room + UInt64(bytes.count)
    try? write(bytes, at: 0)
  }

  var name: String { memory.name }
  var length: UInt64 { memory.length }
  var isWritable: Bool { true }
  var allocatedBytes: UInt64 { memory.allocatedBytes }
  func extent(at offset: UInt64) -> HostExtent { memory.extent(at: offset) }

  private func full(_ operation: StorageError.Operation, _ offset: UInt64) -> StorageError {
    StorageError(operation, name: name, offset: offset, errno: 28, detail: "No space left on device")
  }

  private func admit(
    _ operation: StorageError.Operation, _ offset: UInt64, _ count: UInt64
  ) throws(StorageError) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= limit else { throw full(operation, offset) }
  }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try memory.read(at: offset, into: buffer)
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try admit(.write, offset, UInt64(bytes.count))
    guard UInt64(bytes.count) <= left else { throw full(.write, offset) }
    left -= UInt64(bytes.count)
    try memory.write(bytes, at: offset, tag: tag)
  }

  func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try admit(.zero, offset, count)
    try memory.writeZeroes(at: offset, count: count, tag: tag)
  }

  func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try memory.punch(at: offset, count: count, tag: tag)
  }

  func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    try admit(.truncate, length, 0)
    try memory.truncate(to: length, tag: tag)
  }

  func flush() throws(StorageError) {}
}

/// Files below and beside the image, in memory.
final class MemoryLayers: LayerOpener {
  /// Bytes of the backing file; not a whole number of clusters.
  static let backingLength = 9000
  private(set) var dataFile: SmallStorage?

  init() {}

  func openBacking(_ name: String, format: String?, imagePath: String) throws(ImageError) -> (any GuestLayer)?
  {
    let layer = try LayerName(name, format: format, imagePath: imagePath)
    guard layer.path.hasSuffix("raw") else { return MissingLayer(name: layer.path, reason: "no such file") }
    let bytes = (0..<Self.backingLength).map { UInt8(truncatingIfNeeded: $0 >> 4 | 1) }
    return RawLayer(MemoryStorage(name: layer.path, bytes: bytes))
  }

  func openDataFile(
    _ name: String?, imagePath: String, writable: Bool
  ) throws(ImageError) -> (any Storage)? {
    guard name != nil else { return nil }
    let file = dataFile ?? SmallStorage([UInt8](repeating: 0x5a, count: 5000))
    dataFile = file
    return file
  }

  func openNamed(_ layer: LayerName, below imagePath: String) throws(ImageError) -> any GuestLayer {
    throw ImageError(.unsupported, "nobody names files here")
  }
}

/// Rounds of hashing that a passphrase may cost here.
private let affordableRounds: UInt64 = 4096

/// Options with everything an image may ask for. A passphrase is only given where trying it is cheap.
func openOptions(_ storage: any Storage, writable: Bool, layers: MemoryLayers) -> Image.Options {
  var options = Image.Options()
  options.layers = layers
  options.secret = secret(for: storage)
  options.writable = writable
  return options
}

private func secret(for storage: any Storage) -> Secret? {
  guard let image = try? Image(storage), image.header.cryptMethod != 0 else { return nil }
  if image.header.cryptMethod == 2 {
    guard let area = image.extensions.encryption,
      let bytes = try? storage.bytes(at: area.offset, count: LUKSHeader.size),
      let header = try? LUKSHeader(parsing: bytes)
    else { return nil }
    let slots = header.slots.filter(\.isActive)
    let rounds = slots.reduce(UInt64(0)) { $0 + UInt64($1.iterations) + UInt64(header.digestIterations) }
    guard rounds <= affordableRounds, header.keyBytes <= 64 else { return nil }
  }
  return Array(passphrase.utf8).withUnsafeBytes { Secret(copying: $0) }
}

/// Opens the encrypted seeds.
let passphrase = "atlas"
