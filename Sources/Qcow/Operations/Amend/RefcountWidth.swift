// Another width of the refcounts: new blocks and a new table beside the old ones, which are freed when the header
// names the new. Because taking clusters for them changes counts, that is repeated until nothing is missing.

import QcowFormat
import Storage

/// Changes how many bits a refcount has; throws as ``GuestWriter``.
struct RefcountWidth {
  private let allocator: Allocator

  init(_ allocator: Allocator) { self.allocator = allocator }

  private var tables: TableWriter { allocator.tables }
  private var refcounts: RefcountBlocks { allocator.refcounts }
  private var geometry: Geometry { tables.geometry }

  /// The new table and where it goes.
  private struct Target {
    var table: [UInt64] = []
    var place = HostOffset(0)
    /// Bytes that were taken for the table; 0 for none.
    var size: ByteCount = 0
  }

  /// A new block that has come to its end.
  private struct Block {
    var index: Int
    var isEmpty: Bool
    var bytes: [UInt8]
  }

  /// Throws ``ImageError/Code/option`` if a count does not fit into 2^`order` bits, with nothing changed.
  func change(toOrder order: Int, _ progress: AmendProgress) throws(ImageError) {
    var target = Target()
    do throws(ImageError) {
      let walks = try takePlaces(order, &target, progress)
      let table = target.table
      try walk(order, walks, walks + 1, fills: true, progress) { (block) throws(ImageError) in
        guard table.indices.contains(block.index), table[block.index] != 0 else { return }
        try tables.writeNew(block.bytes, .refcountBlock, .newTable, at: HostOffset(table[block.index]))
      }
      // What the old blocks say of the new ones must be on the disk while they are in use.
      try refcounts.cache.flush()
    } catch {
      release(target.table, target.place, target.size)
      throw error
    }
    let (oldTable, oldPlace) = (tables.refcountTable, tables.refcountTablePlace)
    do throws(ImageError) {
      try tables.replaceRefcounts(by: target.table, at: target.place, order: order)
    } catch {
      release(target.table, target.place, target.size)
      throw error
    }
    refcounts.adoptWidth()
    release(oldTable, oldPlace, ByteCount(oldTable.count * 8))
  }

  private func release(_ table: [UInt64], _ place: HostOffset, _ size: ByteCount) {
    for entry in table {
      guard let block = RefcountTableEntry(raw: entry).block else { continue }
      allocator.release(block, ByteCount(geometry.clusterSize), .other)
    }
    if size > 0 { allocator.release(place, size, .other) }
  }

  /// Takes clusters for all blocks and the table.
  ///
  /// - Returns: how often the old counts were walked over.
  private func takePlaces(
    _ order: Int, _ target: inout Target, _ progress: AmendProgress
  ) throws(ImageError) -> Int {
    let perCluster = Int(geometry.tableEntriesPerCluster)
    var walks = 0
    while true {
      var table = target.table
      var hasTaken = false
      defer { target.table = table }
      try walk(order, walks, max(walks + 2, 3), fills: false, progress) { (block) throws(ImageError) in
        guard !block.isEmpty else { return }
        if block.index >= table.count {
          let count = (block.index / perCluster + 1) * perCluster
          guard count * 8 <= 8 << 20 else {
            throw ImageError(
              .noSpace,
              "This operation would make the refcount table grow beyond the maximum size supported by QEMU, aborting"
            )
          }
          table.append(contentsOf: repeatElement(0, count: count - table.count))
        }
        guard table[block.index] == 0 else { return }
        table[block.index] = try allocator.allocate(1).value
        hasTaken = true
      }
      walks += 1
      guard hasTaken else { return walks }
      if target.size > 0 {
        try allocator.free(target.place, target.size, .never)
        target.size = 0
      }
      let size = ByteCount(table.count * 8)
      target.place = try allocator.allocate(ClusterCount(geometry.clustersCovering(size.value)))
      target.size = size
    }
  }

  /// Goes over all counts as they are at the moment and calls `body` with every new block, when the next one
  /// begins. `body` may take clusters. `index` and `total` number the walks for `progress`.
  private func walk(
    _ order: Int, _ index: Int, _ total: Int, fills: Bool, _ progress: AmendProgress,
    _ body: (Block) throws(ImageError) -> Void
  ) throws(ImageError) {
    var header = tables.header
    header.refcountOrder = UInt32(order)
    let wanted = header.geometry
    let size = Int(geometry.clusterSize)
    let perNew = Int(wanted.refcountsPerBlock)
    let perOld = Int(geometry.refcountsPerBlock)
    let empty = Block(
      index: 0, isEmpty: true, bytes: fills ? [UInt8](repeating: 0, count: size) : [])
    var block = empty
    var filled = 0
    func finish() throws(ImageError) {
      try body(block)
      let next = block.index + 1
      block = empty
      block.index = next
      filled = 0
    }
    var old = 0
    while old < tables.refcountTable.count {
      let count = tables.refcountTable.count
      progress.tell(index * count + old, of: total * count)
      let isThere = try refcounts.block(old) != nil
      var at = 0
      while at < perOld {
        if filled == perNew { try finish() }
        let step = min(perOld - at, perNew - filled)
        if isThere {
          try copy(old, at..<at + step, into: &block, filled, wanted)
        }
        at += step
        filled += step
      }
      old += 1
    }
    if filled > 0 { try finish() }
    let count = tables.refcountTable.count
    progress.tell((index + 1) * count, of: total * count)
  }

  /// Takes a part of an old block over into a new one, from the entry `start` on.
  private func copy(
    _ index: Int, _ range: Range<Int>, into new: inout Block, _ start: Int, _ wanted: Geometry
  ) throws(ImageError) {
    guard let old = try refcounts.block(index) else { return }
    let (counts, codec) = (refcounts.codec, RefcountCodec(order: wanted.refcountOrder))
    var tooLarge: (at: Int, count: UInt64)?
    var isEmpty = true
    unsafe new.bytes.withUnsafeMutableBytes { target in
      for at in range {
        let count = unsafe counts.value(in: UnsafeRawBufferPointer(old.bytes), at: at)
        guard count != 0 else { continue }
        if count > wanted.maximumRefcount {
          tooLarge = (at, count)
          return
        }
        isEmpty = false
        unsafe codec.store(count, in: target, at: start + at - range.lowerBound)
      }
    }
    if !isEmpty { new.isEmpty = false }
    guard let tooLarge else { return }
    let cluster = geometry.firstCluster(ofBlock: index) + ClusterCount(UInt64(tooLarge.at))
    throw ImageError(
      .option,
      "Cannot decrease refcount entry width to \(wanted.refcountBits) bits: Cluster at offset "
        + "\(hex(geometry.start(of: cluster).value)) has a refcount of \(tooLarge.count)")
  }
}
