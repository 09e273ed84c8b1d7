// Reading guest bytes: the runs of the mapping, each from where it lies, and from the layers below where the
// image says nothing.

import QcowFormat
import Storage

/// Answers what the guest's bytes are.
final class GuestReader {
  let l2: L2Tables
  /// Where guest data lies: the image file, or the external data file; nil if that is not open.
  let data: (any Storage)?
  /// Decrypts and encrypts guest data; nil for images that are not encrypted or not unlocked.
  let cipher: DataCipher?
  let rules: MappingRules
  /// The layer that answers where this image says nothing.
  private(set) var backing: (any GuestLayer)?
  /// Expands compressed clusters; what it remembers goes with every change of the tables.
  let streams: StreamReader
  /// The layers below as block status sees them, from the first question on.
  private var below: ChainWalk?

  init(
    _ l2: L2Tables, data: (any Storage)?, _ cipher: DataCipher?, _ rules: MappingRules,
    backing: (any GuestLayer)?, _ streams: StreamReader
  ) {
    self.l2 = l2
    self.data = data
    self.cipher = cipher
    self.rules = rules
    self.backing = backing
    self.streams = streams
  }

  /// Another layer answers from now on.
  func read(through layer: (any GuestLayer)?) {
    guard layer !== backing else { return }
    backing = layer
    below = nil
  }

  private var tables: TableWriter { l2.tables }
  private var geometry: Geometry { l2.geometry }

  /// Where guest data lies, for reading or writing it. Throws ``ImageError/Code/storage`` if that is not open.
  func openData() throws(ImageError) -> any Storage {
    if let data { return data }
    throw ImageError(
      .storage,
      "the data is in the external data file '\(tables.extensions.dataFileName ?? "")', which is not open")
  }

  /// Reads guest bytes, also behind the end of the disk. Throws ``ImageError/Code/corrupt`` for an entry that
  /// cannot be used, ``ImageError/Code/unreadable`` and ``ImageError/Code/encrypted`` for data that cannot be
  /// had, and what the host says.
  func read(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    let count = ByteCount(buffer.count)
    var done: ByteCount = 0
    while done < count {
      let run = try l2.run(at: guest + done, limit: count - done)
      guard run.length > 0 else { return }
      if run.state == .compressed, run.length.value == geometry.clusterSize, count - done > run.length {
        let row = unsafe readRow(run, UnsafeMutableRawBufferPointer(rebasing: buffer[Int(done.value)...]))
        done += row
        if row > 0 { continue }
      }
      let end = done + run.length
      let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[Int(done.value)..<Int(end.value)])
      do throws(ImageError) { unsafe try read(run, into: target) } catch {
        if error.code == .unreadable || error.code == .storage {
          try lookAhead(from: guest + end, count - end)
        }
        throw error
      }
      done = end
    }
  }

  /// Expands compressed clusters in a row, from `run` on as far as they fill the buffer; none if the first cannot
  /// be read.
  private func readRow(_ run: Mapping, _ buffer: UnsafeMutableRawBufferPointer) -> ByteCount {
    var extents: [CompressedExtent] = []
    var next = run
    let most = buffer.count / Int(geometry.clusterSize)
    while let extent = next.compressed, next.length.value == geometry.clusterSize {
      extents.append(extent)
      guard extents.count < min(most, 32),
        let following = try? l2.run(at: next.end, limit: ByteCount(geometry.clusterSize))
      else { break }
      next = following
    }
    guard extents.count > 1 else { return 0 }
    return geometry.bytes(ClusterCount(unsafe streams.readRow(extents, into: buffer)))
  }

  /// Looks up what the genuine tool has looked up by the time when data turns out to be unreadable: it has
  /// up to eight reads under way. Damage of the tables there marks the image, as it does alone.
  private func lookAhead(from guest: GuestOffset, _ count: ByteCount) throws(ImageError) {
    var done: ByteCount = 0
    var underWay = 1
    while done < count, underWay < 8 {
      let run = try l2.run(at: guest + done, limit: count - done)
      guard run.length > 0 else { return }
      if !run.state.readsAsZero, !run.state.isUnallocated || backing != nil { underWay += 1 }
      done += run.length
    }
  }

  /// Reads bytes of data clusters as the file holds them.
  private func readHost(at host: HostOffset, into target: UnsafeMutableRawBufferPointer) throws(ImageError) {
    let data = try openData()
    do throws(StorageError) { unsafe try data.read(at: host.value, into: target) } catch {
      throw ImageError(error)
    }
  }

  private func read(_ run: Mapping, into target: UnsafeMutableRawBufferPointer) throws(ImageError) {
    switch run.state {
    case .data:
      guard let host = run.host else { return }
      tables.reach(.readAio)
      if tables.header.cryptMethod != 0 {
        unsafe try readEncrypted(run.guest, host, into: target)
      } else {
        unsafe try readHost(at: host, into: target)
      }
    case .compressed:
      guard let extent = run.compressed else { return }
      tables.reach(.readCompressed)
      // The genuine tool expands it every time.
      if tables.followsMoments { streams.forget() }
      unsafe try streams.read(extent, from: Int(geometry.offsetInCluster(run.guest.value)), into: target)
    case .unallocated, .unallocatedMapped:
      unsafe try readBelow(run.guest, into: target)
    case .zero, .zeroMapped:
      unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
    case .invalid:
      throw ImageError(
        .corrupt, "Invalid cluster entry found at guest offset \(hex(run.guest.value))",
        at: .l2Table, index: UInt64(geometry.l2Index(of: run.guest)),
        try l2.table(l1Index: geometry.l1Index(of: run.guest)))
    }
  }

  // MARK: Encrypted data

  /// Reads bytes of data clusters and decrypts them. Guest and host offset lie at the same place
  /// within their sectors.
  private func readEncrypted(
    _ guest: GuestOffset, _ host: HostOffset, into target: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    guard let cipher else {
      throw ImageError(
        .encrypted, "guest offset \(hex(guest.value)) is encrypted; \(DataCipher.secretHint)")
    }
    var done = 0
    while done < target.count {
      let inSector = SectorCipher.offsetInSector(guest + ByteCount(done))
      let left = target.count - done
      if inSector == 0, left >= SectorCipher.sectorSize {
        let whole = left & ~(SectorCipher.sectorSize - 1)
        let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: target[done..<done + whole])
        unsafe try readHost(at: host + ByteCount(done), into: piece)
        unsafe try cipher.decrypt(piece, guest: guest + ByteCount(done), host: host + ByteCount(done))
        done += whole
      } else {
        let step = min(SectorCipher.sectorSize - inSector, left)
        let sector = unsafe cipher.sector
        let back = UInt64(done) &- UInt64(inSector)
        unsafe try readHost(at: host + back, into: sector)
        unsafe try cipher.decrypt(sector, guest: guest + back, host: host + back)
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[done..<done + step]).copyMemory(
          from: UnsafeRawBufferPointer(rebasing: sector[inSector..<inSector + step]))
        done += step
      }
    }
  }

  // MARK: Layers below

  /// Reads what the layers below hold; zeroes behind their end or without any.
  private func readBelow(
    _ guest: GuestOffset, into target: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    guard let backing else {
      if rules.hasBacking, let name = tables.backingFileName {
        throw ImageError(
          .unsupported,
          "guest offset \(hex(guest.value)) is in the backing file '\(name)', which is not open")
      }
      unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
      return
    }
    tables.reach(.readBackingAio)
    let size = backing.virtualSize
    let inside = guest.value < size ? Int(min(UInt64(target.count), size - guest.value)) : 0
    if inside > 0 {
      unsafe try backing.readLayer(
        at: guest, into: UnsafeMutableRawBufferPointer(rebasing: target[0..<inside]))
    }
    unsafe UnsafeMutableRawBufferPointer(rebasing: target[inside...]).initializeMemory(
      as: UInt8.self, repeating: 0)
  }

  // MARK: Zeroes without a look at bytes

  /// Whether a range reads as zeroes by its state, without looking at bytes. What lies behind the
  /// end of the disk counts as zero; with `looksIntoFiles` clusters of the layers below do too that lie in holes of a
  /// sparse file. Throws as ``L2Tables/run(at:limit:)``.
  func readsAsZero(
    _ guest: GuestOffset, _ count: ByteCount, looksIntoFiles: Bool = false
  ) throws(ImageError) -> Bool {
    guard guest.value < geometry.virtualSize else { return true }
    var position = guest
    let end = min(geometry.virtualSize, (guest + count).value)
    while position.value < end {
      let run = try l2.run(at: position, limit: ByteCount(end - position.value))
      guard run.length > 0 else { return false }
      if run.state.isUnallocated {
        guard let backing else {
          guard !rules.hasBacking else { return false }
          position = position + run.length
          continue
        }
        guard
          try looksIntoFiles
            ? blockStatusIsZero(backing, position, run.length)
            : Self.readsAsZero(backing, position, run.length)
        else { return false }
      } else if !run.state.readsAsZero {
        return false
      }
      position = position + run.length
    }
    return true
  }

  /// The same for the layers below, with a look into their files. Throws as ``ChainWalk/extent(at:limit:)``.
  private func blockStatusIsZero(
    _ layer: any GuestLayer, _ guest: GuestOffset, _ count: ByteCount
  ) throws(ImageError) -> Bool {
    var walk = below ?? ChainWalk(layer.chain)
    defer { below = walk }
    walk.forgetFiles()
    var position = guest.value
    let end = min(layer.virtualSize, (guest + count).value)
    while position < end {
      let extent = try walk.extent(at: position, limit: end - position)
      guard extent.isZero, extent.length > 0 else { return false }
      position += extent.length
    }
    return true
  }

  /// The same for any layer; each layer's unallocated runs ask the next one.
  private static func readsAsZero(
    _ layer: any GuestLayer, _ guest: GuestOffset, _ count: ByteCount
  ) throws(ImageError) -> Bool {
    var position = guest
    let end = min(GuestOffset(layer.virtualSize), guest + count)
    while position < end {
      let extent = try layer.layerExtent(at: position, limit: ByteCount(end - position))
      guard extent.length > 0 else { return false }
      switch extent.kind {
      case .zero: break
      case .data, .missing: return false
      case .unallocated:
        if let below = layer.layerBelow {
          guard try readsAsZero(below, position, extent.length) else { return false }
        }
      }
      position = position + extent.length
    }
    return true
  }
}
