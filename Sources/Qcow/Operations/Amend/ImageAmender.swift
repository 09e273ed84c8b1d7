// Changing what an image is as a whole, step by step in the order of the genuine tool. A step that fails leaves
// the earlier ones done.

import QcowFormat
import Storage

/// Amends one image; throws as ``GuestWriter``.
struct ImageAmender {
  private let writer: GuestWriter

  init(_ writer: GuestWriter) { self.writer = writer }

  private var tables: TableWriter { writer.tables }
  private var header: Header { tables.header }

  /// Throws ``ImageError/Code/option`` and ``ImageError/Code/unsupported`` for what cannot be. The amendment has
  /// been checked by itself.
  func run(
    _ amendment: Amendment, keys: KeySlotChange?, _ tell: @escaping (Int, Int) -> Void
  ) throws(ImageError) {
    let (old, new) = (header.version, try amendment.version() ?? header.version)
    let width = tables.geometry.refcountBits
    let bits = amendment.refcountBits.map { Int(clamping: $0) } ?? width
    let progress = AmendProgress(
      (new != old ? 1 : 0) + (bits != width ? 1 : 0) + (keys == nil ? 0 : 1), tell)
    if new > old {
      try upgrade(progress)
      progress.next()
    }
    if let keys { try KeySlots(tables).change(keys) }
    if bits != width {
      guard new >= 3 || bits == 16 else {
        throw ImageError(
          .option,
          "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)"
        )
      }
      try RefcountWidth(writer.allocator).change(toOrder: bits.trailingZeroBitCount, progress)
      progress.next()
    }
    try tables.rewriteHeader {
      if amendment.dataFileRaw == false { $0.header.autoclear.remove(.rawExternalData) }
      if let name = amendment.dataFile { $0.extensions.dataFileName = name.isEmpty ? nil : name }
    }
    try checkBacking(amendment)
    try setLazyRefcounts(amendment, version: new)
    if let size = amendment.size, size != 0 { try DiskResize(writer).resize(to: ByteCount(size), .off) }
    if new < old { try downgrade(progress) }
  }

  private func checkBacking(_ amendment: Amendment) throws(ImageError) {
    guard amendment.backingFile != nil || amendment.backingFormat != nil else { return }
    func isSame(_ a: String?, _ b: String?) -> Bool {
      if let a, let b { return ByteText.areSame(a, b) }
      return a == nil && b == nil
    }
    guard isSame(amendment.backingFile, tables.backingFileName),
      isSame(amendment.backingFormat, tables.extensions.backingFormat)
    else {
      throw ImageError(
        .option, "Cannot amend the backing file", hint: "You can use 'qemu-img rebase' instead.")
    }
  }

  private func setLazyRefcounts(_ amendment: Amendment, version: UInt32) throws(ImageError) {
    let isOn = writer.options.lazyRefcounts ?? header.compatible.contains(.lazyRefcounts)
    guard let wanted = amendment.lazyRefcounts, wanted != isOn else { return }
    if wanted {
      guard version >= 3 else {
        throw ImageError(
          .option,
          "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
      }
    } else {
      try settleRefcounts()
    }
    try tables.rewriteHeader {
      if wanted {
        $0.header.compatible.insert(.lazyRefcounts)
      } else {
        $0.header.compatible.remove(.lazyRefcounts)
      }
    }
  }

  /// Brings refcounts that lag behind to the disk and says so.
  private func settleRefcounts() throws(ImageError) {
    guard writer.editor.isDirty else { return }
    try writer.l2.cache.flush()
    try writer.allocator.refcounts.cache.flush()
    try tables.rewriteHeader { $0.header.incompatible.remove(.dirty) }
    try tables.flush()
  }

  // MARK: Versions

  private func upgrade(_ progress: AmendProgress) throws(ImageError) {
    progress.tell(0, of: 2)
    // Version 3 wants the sizes of VM state and disk in every entry.
    if tables.snapshots.contains(where: { $0.extraDataSize < 16 }) {
      try InternalSnapshots(writer).rewriteTable()
    }
    progress.tell(1, of: 2)
    try tables.rewriteHeader { $0.header.version = 3 }
    progress.tell(2, of: 2)
  }

  private func downgrade(_ progress: AmendProgress) throws(ImageError) {
    guard header.refcountOrder == 4 else {
      throw ImageError(.unsupported, "compat=0.10 requires refcount_bits=16")
    }
    guard !writer.l2.hasExternalData else {
      throw ImageError(.unsupported, "Cannot downgrade an image with a data file")
    }
    let size = tables.geometry.virtualSize
    for snapshot in tables.snapshots
    where snapshot.vmStateSize > UInt64(UInt32.max) || (snapshot.diskSize ?? size) != size {
      throw ImageError(.unsupported, "Internal snapshots prevent downgrade of image")
    }
    try settleRefcounts()
    let rest = header.incompatible.subtracting(.compressionType)
    guard rest.isEmpty else {
      throw ImageError(
        .unsupported,
        "Cannot downgrade an image with incompatible features \(hex(rest.rawValue)) set")
    }
    let expansion = ZeroExpansion(writer)
    do throws(ImageError) { try expansion.run(progress) } catch {
      var error = error
      error.description = "Failed to turn zero into data clusters: " + error.description
      throw error
    }
    if header.incompatible.contains(.compressionType), try expansion.hasCompressedClusters() {
      throw ImageError(
        .unsupported,
        "Cannot downgrade an image with zstd compression type and existing compressed clusters")
    }
    try writer.editor.flush()
    try tables.rewriteHeader {
      $0.header.version = 2
      $0.header.incompatible = []
      $0.header.compatible = []
      $0.header.autoclear = []
      $0.header.compressionType = 0
      // Version 2 has no bit that would vouch for it.
      $0.extensions.pin = nil
    }
  }
}
