// Creating an image whose data is one run at one shift: the tables are written as they will be, without
// going through the engine's caches, so that a terabyte takes as long as writing its tables.

import QcowFormat
import Storage

extension CreateOptions {
  /// Bytes of disk that get places: the size, or what is set aside for growing.
  func placedSize(_ size: ByteCount) -> ByteCount { max(size, ByteCount(reserve ?? 0)) }

  /// Throws for a combination that cannot have or keep one shift.
  func checkContiguous() throws(ImageError) {
    if contiguous {
      guard encryption == nil else {
        throw ImageError(.option, "contiguous=on and encryption cannot be used at the same time")
      }
      guard preallocation != .off else {
        throw ImageError(
          .option, "contiguous=on maps every cluster in advance; give preallocation=metadata, falloc or full")
      }
      guard backingFile == nil || extendedL2 else {
        throw ImageError(
          .option,
          "contiguous=on over a backing file needs extended_l2=on: a standard L2 entry cannot be mapped and still show the backing file"
        )
      }
    }
    if let reserve {
      guard contiguous || pinned else {
        throw ImageError(.option, "reserve needs contiguous=on or pinned=on")
      }
      guard reserve >= size else {
        throw ImageError(
          .option, "reserve (\(reserve) bytes) must not be below the size of the disk (\(size) bytes)")
      }
    }
    if pinned {
      guard version >= 3 else {
        throw ImageError(
          .option, "pinned=on needs compatibility level 1.1 and above (use version=v3 or greater)")
      }
      guard preallocation == .off || contiguous else {
        throw ImageError(
          .option, "pinned=on with preallocation needs contiguous=on: otherwise tables lie between the data")
      }
    }
    guard dataFile == nil || !(contiguous || pinned) else {
      throw ImageError(
        .option,
        "an external data file has every cluster at its guest offset; contiguous and pinned do not apply")
    }
  }

  /// What the header of a pinned image says.
  func pin(_ geometry: Geometry, _ size: ByteCount) throws(ImageError) -> PinExtension? {
    guard pinned else { return nil }
    let placed = placedSize(size)
    return PinExtension(shift: try ContiguousLayout(geometry, size: placed).shift, reserve: placed.value)
  }
}

/// Writes an image of this layout from nothing.
struct ContiguousCreation {
  private let storage: any Storage
  private let options: CreateOptions
  /// The header without tables.
  private let bare: Header
  private let size: ByteCount
  private let layout: ContiguousLayout
  private let clusters: ClusterCount
  private var geometry: Geometry { bare.geometry }

  /// Throws ``ImageError/Code/option`` for a size that cannot be laid out so.
  init(on storage: any Storage, _ options: CreateOptions, _ bare: Header, size: ByteCount) throws(ImageError)
  {
    self.storage = storage
    self.options = options
    self.bare = bare
    self.size = size
    layout = try ContiguousLayout(bare.geometry, size: options.placedSize(size))
    clusters = ClusterCount(bare.geometry.clustersCovering(size.value))
  }

  /// Makes the whole image; throws what the host says.
  func run() throws(ImageError) {
    let end = layout.shift + geometry.bytes(clusters).value
    do throws(StorageError) {
      try storage.truncate(to: end, tag: WriteTag(.file, .create))
      try DiskResize.giveBlocks(
        to: HostOffset(layout.shift)..<HostOffset(end), of: storage, options.preallocation)
      try writeRefcounts()
      try writeTables()
      try storage.flush()
    } catch { throw ImageError(error) }
    var header = bare
    header.size = size.value
    header.refcountTableOffset = layout.refcountTableOffset.value
    header.refcountTableClusters = UInt32(layout.refcountTableClusters)
    header.l1TableOffset = layout.l1Offset.value
    header.l1Size = UInt32(layout.l1Entries)
    var extensions = HeaderExtensions()
    if let format = options.backingFormat { extensions.list.append(.backingFormat(format)) }
    extensions.pin = try options.pin(geometry, size)
    if options.pinned { header.autoclear.insert(.pinned) }
    let first: [UInt8]
    do throws(FormatError) {
      first = try header.encodeCluster(extensions: extensions, backingName: options.backingFile)
    } catch { throw ImageError(error) }
    do throws(StorageError) {
      try TableWriter.make(Self.trimmed(first), .header, at: HostOffset(0), on: storage)
      try storage.flush()
    } catch { throw ImageError(error) }
  }

  /// What is not written stays a hole, which reads as the same zeroes.
  private static func trimmed(_ bytes: [UInt8]) -> [UInt8] {
    guard let last = bytes.lastIndex(where: { $0 != 0 }) else { return [] }
    return Array(bytes[...last])
  }

  /// Table and blocks. All blocks are there; those of the reserve count nothing yet.
  private func writeRefcounts() throws(StorageError) {
    var table: [UInt8] = []
    table.reserveCapacity(Int(layout.refcountBlocks) * 8)
    for i in 0..<layout.refcountBlocks {
      BigEndian.append(geometry.start(of: HostCluster(layout.firstBlock + i)).value, width: 8, to: &table)
    }
    try TableWriter.make(table, .refcountTable, at: layout.refcountTableOffset, on: storage)
    let tables = geometry.l1Entries(for: geometry.bytes(clusters).value)
    let used = [
      0..<(layout.firstL2Table + tables), layout.tableClusters..<(layout.tableClusters + clusters.value),
    ]
    let perBlock = geometry.refcountsPerBlock
    let codec = RefcountCodec(order: geometry.refcountOrder)
    func block(_ parts: [Range<UInt64>]) -> [UInt8] {
      var block = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
      unsafe block.withUnsafeMutableBytes { bytes in
        for part in parts { for i in part { unsafe codec.store(1, in: bytes, at: Int(i)) } }
      }
      return Self.trimmed(block)
    }
    let full = block([0..<perBlock])
    for i in 0..<layout.refcountBlocks {
      let start = i * perBlock
      let covered = start..<(start + perBlock)
      let parts = used.map { $0.clamped(to: covered) }.filter { !$0.isEmpty }
      guard !parts.isEmpty else { continue }
      let isFull = parts.contains { UInt64($0.count) == perBlock }
      let bytes = isFull ? full : block(parts.map { ($0.lowerBound - start)..<($0.upperBound - start) })
      let place = geometry.start(of: HostCluster(layout.firstBlock + i))
      try TableWriter.make(bytes, .refcountBlock, at: place, on: storage)
    }
  }

  /// L1 table and L2 tables: every cluster mapped; with extended entries no subcluster allocated.
  private func writeTables() throws(StorageError) {
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let tables = geometry.l1Entries(for: geometry.bytes(clusters).value)
    var l1: [UInt8] = []
    l1.reserveCapacity(Int(tables) * 8)
    for i in 0..<tables {
      let table = geometry.start(of: HostCluster(layout.firstL2Table + i))
      BigEndian.append(L1Entry(table: table, copied: true).raw, width: 8, to: &l1)
      let first = i * perTable
      let count = Int(min(perTable, clusters.value - first))
      var bytes = [UInt8](repeating: 0, count: geometry.l2EntryOffset(count))
      unsafe bytes.withUnsafeMutableBytes { buffer in
        for k in 0..<count {
          let descriptor =
            layout.shift + geometry.byteCount(ofClusters: first + UInt64(k)) | L2Entry.copiedFlag
          unsafe buffer.storeBytes(
            of: descriptor.bigEndian, toByteOffset: geometry.l2EntryOffset(k), as: UInt64.self)
        }
      }
      try TableWriter.make(bytes, .l2Table, at: table, on: storage)
    }
    try TableWriter.make(l1, .l1Table, at: layout.l1Offset, on: storage)
  }
}
