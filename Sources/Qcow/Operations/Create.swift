// Creating an image: a bare one by hand, then everything else through the engine itself, in the
// order in which QEMU does it, because that order decides where the tables lie.

package import QcowFormat
package import Storage

/// What a new image is to be like.
package struct CreateOptions {
  /// What is allocated in advance.
  package enum Preallocation: String, Sendable, CaseIterable {
    case off
    /// Tables and their data clusters, sparse on the host.
    case metadata
    /// The same in one run, with host blocks.
    case falloc
    /// The same, written with zeroes.
    case full
  }

  /// Virtual size in bytes; rounded up to 512.
  package var size: UInt64
  /// 2 or 3.
  package var version: UInt32 = 3
  /// Bytes, a power of two from 512 to 2 MiB.
  package var clusterSize: UInt64 = 65536
  /// L2 entries have 16 bytes and 32 subclusters.
  package var extendedL2 = false
  /// Bits of a refcount, a power of two from 1 to 64.
  package var refcountBits = 16
  /// Refcounts may wait until the image is closed.
  package var lazyRefcounts = false
  /// How much is allocated at once.
  package var preallocation = Preallocation.off
  /// 0 zlib, 1 zstd.
  package var compressionType: UInt8 = 0
  /// The external data file as the header is to name it, and the open file.
  package var dataFile: (name: String, storage: any Storage)?
  /// The data file by itself is a correct raw image.
  package var dataFileRaw = false
  /// The backing file as the header is to name it.
  package var backingFile: String?
  /// The format that is named for the backing file.
  package var backingFormat: String?
  /// Tables first, then all data in one run at one shift; needs preallocation.
  package var contiguous = false
  /// Bytes to which the disk can grow and keep the shift; the size itself if nil.
  package var reserve: UInt64?
  /// Every cluster is to stay at its place (``PinExtension``).
  package var pinned = false
  /// The encryption of guest data; nil for none.
  package var encryption: NewEncryption?

  package init(size: UInt64) { self.size = size }
}

extension Image {
  /// What a new image is to be like.
  package typealias CreateOptions = Qcow.CreateOptions

  /// Makes a new image on empty storage.
  ///
  /// - Throws: ``ImageError/Code/option`` for options that cannot be, and what the host says.
  package static func create(on storage: any Storage, _ options: CreateOptions) throws(ImageError) {
    let header = try options.bareHeader()
    let size = try options.roundedSize(header)
    if options.contiguous {
      return try ContiguousCreation(on: storage, options, header, size: ByteCount(size)).run()
    }
    try writeBareImage(header, on: storage)
    var session = Options()
    session.writable = true
    session.cache = .writeback
    session.dataFile = options.dataFile?.storage
    let image = try Image(storage, options: session)
    let writer = try image.changing()
    guard try writer.allocator.allocate(3).value == 0 else {
      throw ImageError(
        .corrupt, "the first clusters of a new image are already in use", at: .refcountBlock, index: 0,
        HostOffset(0))
    }
    let pin = try options.pin(image.geometry, ByteCount(size))
    try image.tables.rewriteHeader { first in
      if let name = options.dataFile?.name { first.extensions.list.append(.dataFileName(name)) }
      guard let pin else { return }
      first.extensions.pin = pin
      first.header.autoclear.insert(.pinned)
    }
    try DiskResize(writer).grow(to: ByteCount(size), options.preallocation)
    if let backing = options.backingFile {
      let problem =
        "Could not assign backing file '\(backing)' with format '\(options.backingFormat ?? "")': "
      guard ByteText.bytes(backing).count <= 1023 else {
        throw ImageError(.option, problem + "Invalid argument")
      }
      do throws(ImageError) {
        try image.tables.rewriteHeader {
          $0.backingFileName = backing
          if let format = options.backingFormat { $0.extensions.list.append(.backingFormat(format)) }
        }
      } catch {
        throw ImageError(error.code, problem + "No space left on device")
      }
    }
    if let encryption = options.encryption { try encryption.setUp(writer) }
    try image.close()
  }

  /// Header, refcount table with one block, and nothing else.
  private static func writeBareImage(_ header: Header, on storage: any Storage) throws(ImageError) {
    let clusterSize = Int(header.geometry.clusterSize)
    var first = header.encodedFields()
    first.append(contentsOf: repeatElement(0, count: clusterSize - first.count))
    var tables = [UInt8](repeating: 0, count: 2 * clusterSize)
    BigEndian.put(UInt64(2 * clusterSize), width: 8, into: &tables, at: 0)
    do throws(StorageError) {
      try TableWriter.make(first, .header, at: HostOffset(0), on: storage)
      try TableWriter.make(tables, .refcountTable, at: HostOffset(UInt64(clusterSize)), on: storage)
    } catch {
      throw ImageError(error)
    }
  }
}

extension CreateOptions {
  /// Throws what creating would throw about the options alone.
  ///
  /// - Throws: ``ImageError`` for options that make no sense.
  package func check() throws(ImageError) { _ = try roundedSize(bareHeader()) }

  /// The header of the bare image: no size, no L1 table.
  func bareHeader() throws(ImageError) -> Header {
    try checkClusters()
    try checkBackingFile()
    try checkRefcounts()
    if version < 3 {
      guard !lazyRefcounts else {
        throw ImageError(
          .option,
          "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)")
      }
    }
    try checkDataFile()
    try checkContiguous()
    try encryption?.check()
    return emptyHeader()
  }

  /// The sizes of the clusters and tables that an image with these options has, as if its disk were empty; the options
  /// must have been checked (``checkClusters()``).
  package var geometry: Geometry { emptyHeader().geometry }

  /// The same for options that have been checked.
  func emptyHeader() -> Header {
    var header = Header()
    header.version = version
    header.clusterBits = UInt32(clusterSize.trailingZeroBitCount)
    header.refcountTableOffset = clusterSize
    header.refcountTableClusters = 1
    header.refcountOrder = UInt32(refcountBits.trailingZeroBitCount)
    if extendedL2 { header.incompatible.insert(.extendedL2) }
    if lazyRefcounts { header.compatible.insert(.lazyRefcounts) }
    header.compressionType = compressionType
    if compressionType != 0 { header.incompatible.insert(.compressionType) }
    if dataFile != nil { header.incompatible.insert(.externalDataFile) }
    if dataFileRaw { header.autoclear.insert(.rawExternalData) }
    return header
  }

  /// Throws what is wrong with the size of clusters and entries.
  ///
  /// - Throws: ``ImageError/Code/option``.
  package func checkClusters() throws(ImageError) {
    guard clusterSize >= 512, clusterSize <= 2 << 20, clusterSize & (clusterSize - 1) == 0 else {
      throw ImageError(.option, "Cluster size must be a power of two between 512 and 2048k")
    }
    guard !extendedL2 || version >= 3 else {
      throw ImageError(
        .option,
        "Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)"
      )
    }
    guard !extendedL2 || clusterSize >= 16384 else {
      throw ImageError(
        .option, "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes")
    }
  }

  /// Throws what is wrong with the width of refcounts.
  func checkRefcounts() throws(ImageError) {
    guard refcountBits >= 1, refcountBits <= 64, refcountBits & (refcountBits - 1) == 0 else {
      throw ImageError(.option, "Refcount width must be a power of two and may not exceed 64 bits")
    }
    guard version >= 3 || refcountBits == 16 else {
      throw ImageError(
        .option,
        "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)"
      )
    }
  }

  private func checkBackingFile() throws(ImageError) {
    guard backingFile != nil else {
      guard backingFormat == nil else {
        throw ImageError(.option, "Backing format cannot be used without backing file")
      }
      return
    }
    // The contiguous layout gives its own reason.
    guard preallocation == .off || extendedL2 || contiguous else {
      throw ImageError(
        .option, "Backing file and preallocation can only be used at the same time if extended_l2 is on")
    }
    guard !dataFileRaw || version < 3 else {
      throw ImageError(.option, "Backing file and data-file-raw cannot be used at the same time")
    }
  }

  private func checkDataFile() throws(ImageError) {
    if version < 3 {
      guard compressionType == 0 else {
        throw ImageError(
          .option,
          "Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)"
        )
      }
      guard dataFile == nil else {
        throw ImageError(
          .option,
          "External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)"
        )
      }
    }
    guard !dataFileRaw || dataFile != nil else {
      throw ImageError(.option, "data-file-raw requires data-file")
    }
  }

  /// The virtual size in whole sectors, if an L1 table can map it.
  func roundedSize(_ header: Header) throws(ImageError) -> UInt64 {
    let (sum, overflow) = size.addingReportingOverflow(511)
    let tooLarge = ImageError(
      .option, "The image size is too large for file format 'qcow2' (try using a larger cluster size)")
    guard !overflow, sum & ~511 <= UInt64(Int64.max) else { throw tooLarge }
    guard header.geometry.l1Entries(for: sum & ~511) * 8 <= 32 << 20 else { throw tooLarge }
    return sum & ~511
  }
}
