// Reading guest bytes: the runs of the mapping, each from where it lies.

package import QcowFormat
import Storage

extension Image {
  /// Reads guest bytes; the whole range must lie on the disk.
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, for damage, and for a missing layer
  ///   or passphrase.
  package func read(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    try requireOnDisk(guest, UInt64(buffer.count))
    try guarded { () throws(ImageError) in unsafe try readRuns(at: guest, into: buffer) }
  }

  /// The read without a look at the end of the disk.
  func readRuns(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    let count = UInt64(buffer.count)
    var done: UInt64 = 0
    while done < count {
      let run = try run(at: guest + done, limit: count - done)
      guard run.length > 0 else { return }
      let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[Int(done)..<Int(done + run.length)])
      do throws(ImageError) { unsafe try read(run, into: target) } catch {
        if error.code == .unreadable || error.code == .storage {
          try lookAhead(from: guest + (done + run.length), count - done - run.length)
        }
        throw error
      }
      done += run.length
    }
  }

  /// Looks up what the genuine tool has looked up by the time when data turns out to be unreadable: it has
  /// up to eight reads under way. Damage of the tables there marks the image, as it does alone.
  private func lookAhead(from guest: GuestOffset, _ count: UInt64) throws(ImageError) {
    var done: UInt64 = 0
    var underWay = 1
    while done < count, underWay < 8 {
      let run = try run(at: guest + done, limit: count - done)
      guard run.length > 0 else { return }
      if !run.state.readsAsZero, !run.state.isUnallocated || backing != nil { underWay += 1 }
      done += run.length
    }
  }

  /// Reads bytes of data clusters as the file holds them.
  func readHost(at host: UInt64, into target: UnsafeMutableRawBufferPointer) throws(ImageError) {
    let data = try openData()
    do throws(StorageError) {
      unsafe try data.read(at: host, into: target)
    } catch {
      throw ImageError(error)
    }
  }

  private func read(_ run: Mapping, into target: UnsafeMutableRawBufferPointer) throws(ImageError) {
    switch run.state {
    case .data:
      guard let host = run.host else { return }
      if header.cryptMethod != 0 {
        unsafe try readEncrypted(run.guest, host, into: target)
      } else {
        unsafe try readHost(at: host.value, into: target)
      }
    case .compressed:
      guard let extent = run.compressed else { return }
      unsafe try readCompressed(extent, geometry.offsetInCluster(run.guest.value), into: target)
    case .unallocated, .unallocatedMapped:
      unsafe try readBelow(run.guest, into: target)
    case .zero, .zeroMapped:
      unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
    case .invalid:
      throw ImageError(.corrupt, "Invalid cluster entry found at guest offset \(hex(run.guest.value))")
    }
  }
}
