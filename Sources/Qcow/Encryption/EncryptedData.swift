// Reading and writing data clusters of encrypted images. The cipher works on whole sectors, so
// requests that begin or end inside one read the rest of it and write it again.

internal import QcowFormat
internal import Storage

extension Image {
  /// What is missing to write an encrypted image; nil if nothing is.
  static func encryptionRefusal(_ header: Header, _ cipher: DataCipher?) -> String? {
    header.cryptMethod != 0 && cipher == nil ? "the image is encrypted; \(secretHint)" : nil
  }

  static let secretHint = "give its passphrase with --secret prompt, file=PATH or env=NAME"

  private static let sectorMask = UInt64(SectorCipher.sectorSize - 1)

  // MARK: Reading

  /// Reads bytes of data clusters and decrypts them. Guest and host offset lie at the same place
  /// within their sectors.
  func readEncrypted(
    _ guest: GuestOffset, _ host: HostOffset, into target: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    guard let dataCipher else {
      throw ImageError(.encrypted, "guest offset \(hex(guest.value)) is encrypted; \(Self.secretHint)")
    }
    var done = 0
    while done < target.count {
      let inSector = Int((host.value + UInt64(done)) & Self.sectorMask)
      let left = target.count - done
      if inSector == 0, left >= SectorCipher.sectorSize {
        let whole = left & ~(SectorCipher.sectorSize - 1)
        let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: target[done..<done + whole])
        unsafe try readHost(at: host.value + UInt64(done), into: piece)
        unsafe try dataCipher.decrypt(
          piece, guest: guest.value + UInt64(done), host: host.value + UInt64(done))
        done += whole
      } else {
        let step = min(SectorCipher.sectorSize - inSector, left)
        let sector = unsafe dataCipher.sector
        let sectorHost = host.value + UInt64(done) - UInt64(inSector)
        let sectorGuest = guest.value + UInt64(done) - UInt64(inSector)
        unsafe try readHost(at: sectorHost, into: sector)
        unsafe try dataCipher.decrypt(sector, guest: sectorGuest, host: sectorHost)
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[done..<done + step]).copyMemory(
          from: UnsafeRawBufferPointer(rebasing: sector[inSector..<inSector + step]))
        done += step
      }
    }
  }

  // MARK: Writing

  /// Bytes that one piece of a write may have. QEMU encrypts at most 32 clusters at a time, which
  /// shows in where the clusters of long requests go.
  func largestPiece(at guest: UInt64) -> UInt64 {
    let largest: UInt64 = 1 << 31 - 512
    guard dataCipher != nil else { return largest }
    return min(largest, 32 * geometry.clusterSize - geometry.offsetInCluster(guest))
  }

  /// Writes guest bytes as a request of whole sectors.
  func writeSectors(_ bytes: UnsafeRawBufferPointer, at guest: GuestOffset) throws(ImageError) {
    let head = guest.value & Self.sectorMask
    let end = guest.value + UInt64(bytes.count)
    let start = guest.value - head
    let wholeEnd = (end + Self.sectorMask) & ~Self.sectorMask
    guard bytes.count > 0, head != 0 || wholeEnd != end else {
      return unsafe try writeDetecting(bytes, at: guest)
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(wholeEnd - start), alignment: 16)
    defer {
      unsafe Secret.wipe(buffer)
      unsafe buffer.deallocate()
    }
    let sector = SectorCipher.sectorSize
    unsafe try readRuns(
      at: GuestOffset(start), into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<sector]))
    if wholeEnd - start > UInt64(sector) {
      let last = buffer.count - sector
      unsafe try readRuns(
        at: GuestOffset(start + UInt64(last)), into: UnsafeMutableRawBufferPointer(rebasing: buffer[last...]))
    }
    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[Int(head)..<Int(head) + bytes.count]).copyMemory(
      from: bytes)
    unsafe try writeDetecting(UnsafeRawBufferPointer(buffer), at: GuestOffset(start))
  }

  /// Writes the sectors at the ends of a zero-write that it covers only in part, and calls `middle`
  /// for the whole sectors between them. Two sectors that are both covered in part are one request.
  func zeroSectors(
    _ guest: UInt64, _ count: UInt64, _ middle: (_ offset: UInt64, _ count: UInt64) throws(ImageError) -> Void
  ) throws(ImageError) {
    let sector = UInt64(SectorCipher.sectorSize)
    let head = guest & Self.sectorMask
    let tail = (guest + count) & Self.sectorMask
    let covered = head + count + (tail == 0 ? 0 : sector - tail)
    if (head != 0 || tail != 0) && covered <= (head != 0 && tail != 0 ? 2 * sector : sector) {
      return try zeroPart(guest, count)
    }
    var start = guest
    var left = count
    if head != 0 {
      try zeroPart(start, sector - head)
      start += sector - head
      left -= sector - head
    }
    if left > tail { try middle(start, left - tail) }
    if tail != 0 { try zeroPart(start + left - tail, tail) }
  }

  private func zeroPart(_ guest: UInt64, _ count: UInt64) throws(ImageError) {
    let zeroes = [UInt8](repeating: 0, count: Int(count))
    var problem: ImageError?
    unsafe zeroes.withUnsafeBytes { bytes in
      do throws(ImageError) { unsafe try writeRequest(bytes, at: GuestOffset(guest)) } catch {
        problem = error
      }
    }
    if let problem { throw problem }
  }

  /// Encrypts guest data in pieces beside the caller's bytes, which stay as they are, and writes it.
  /// Both offsets are those of the first byte, a whole sector each.
  func writeEncrypted(
    _ data: UnsafeRawBufferPointer, guest: UInt64, at host: UInt64, _ cipher: DataCipher
  ) throws(ImageError) {
    let room = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(1, min(data.count, 4 << 20)), alignment: 16)
    defer {
      // A failure may leave plain text.
      unsafe Secret.wipe(room)
      unsafe room.deallocate()
    }
    let target = try openData()
    var done = 0
    while done < data.count {
      let count = min(room.count, data.count - done)
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: room[0..<count])
      unsafe piece.copyMemory(from: UnsafeRawBufferPointer(rebasing: data[done..<done + count]))
      let place = host + UInt64(done)
      unsafe try cipher.encrypt(piece, guest: guest + UInt64(done), host: place)
      do throws(StorageError) {
        unsafe try target.write(
          UnsafeRawBufferPointer(piece), at: place,
          tag: WriteTag(.data, .guestData, table: place, index: UInt64(count)))
      } catch {
        throw ImageError(error)
      }
      done += count
    }
  }
}
