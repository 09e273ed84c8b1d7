// What lies below an image: anything that can say what the guest reads at an offset. A raw file and
// another image are the two kinds there are.

package import QcowFormat
package import Storage

/// A layer of a backing chain, read-only.
package protocol GuestLayer: AnyObject {
  /// Bytes of the disk it holds; behind them everything reads as zeroes.
  var virtualSize: UInt64 { get }
  /// The name for people, sanitised by whoever shows it.
  var layerName: String { get }
  /// The layer below this one.
  var layerBelow: (any GuestLayer)? { get }
  /// It could not be opened; see ``MissingLayer``.
  var isMissing: Bool { get }
  /// Reads bytes; the range lies within ``virtualSize``.
  ///
  /// - Throws: ``ImageError`` for damage and for what cannot be read.
  func readLayer(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError)
  /// The state of the bytes from `guest` on, at most `limit` and within ``virtualSize``.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  func layerExtent(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> LayerExtent
}

extension GuestLayer {
  package var isMissing: Bool { false }

  /// This one and everything below it, top first.
  package var layers: [any GuestLayer] {
    var list: [any GuestLayer] = [self]
    while let next = list.last?.layerBelow { list.append(next) }
    return list
  }
}

/// Which layer, if any; alike are references to the same one.
package struct LayerReference: Equatable {
  /// Nil for none.
  package let layer: (any GuestLayer)?

  package init(_ layer: (any GuestLayer)? = nil) { self.layer = layer }
  package static func == (one: LayerReference, other: LayerReference) -> Bool { one.layer === other.layer }
}

/// A run of bytes of one layer.
package struct LayerExtent: Equatable, Sendable {
  /// What a layer says of bytes.
  package enum Kind: Sendable {
    /// The layer holds bytes.
    case data
    /// The layer says that they are zeroes.
    case zero
    /// The layer says nothing; the one below answers, or zeroes.
    case unallocated
    /// The layer is not there, and only it could answer.
    case missing
  }

  /// What the layer says of them.
  package var kind: Kind
  package var length: ByteCount
  /// Where the first byte lies in the layer's file, if it lies anywhere by itself.
  package var offset: HostOffset?

  package init(_ kind: Kind, length: ByteCount, offset: HostOffset? = nil) {
    self.kind = kind
    self.length = length
    self.offset = offset
  }
}

/// A raw file as a layer: guest offset is host offset, and holes are zeroes.
package final class RawLayer: GuestLayer {
  /// The file.
  package let storage: any Storage

  package init(_ storage: any Storage) { self.storage = storage }

  /// Whole sectors; a last part of one reads as if it were filled up with zeroes.
  package var virtualSize: UInt64 { (storage.length + 511) & ~511 }
  package var layerName: String { storage.name }
  package var layerBelow: (any GuestLayer)? { nil }

  /// Reads the bytes of the file.
  /// - Throws: `.storage` where the file cannot be read.
  package func readLayer(
    at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    storage.reach(Moment.readAio.rawValue)
    do throws(StorageError) { unsafe try storage.read(at: guest.value, into: buffer) } catch {
      throw ImageError(error)
    }
  }

  package func layerExtent(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> LayerExtent {
    let extent = storage.extent(at: guest.value)
    let end = GuestOffset(min(extent.end, virtualSize))
    return LayerExtent(
      extent.isHole ? .zero : .data, length: end > guest ? min(limit, ByteCount(end - guest)) : limit,
      offset: HostOffset(guest.value))
  }
}

extension Image: GuestLayer {
  package var virtualSize: UInt64 { geometry.virtualSize }
  package var layerName: String { storage.name }
  package var layerBelow: (any GuestLayer)? { backing }

  /// Reads as a guest of this layer would.
  /// - Throws: as `read` does, with the name of this layer.
  package func readLayer(
    at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    do throws(ImageError) { unsafe try read(at: guest, into: buffer) } catch {
      throw forLayerAbove(error)
    }
  }

  /// Damage belongs to the file it was found in: to the image above it is data that cannot be read.
  private func forLayerAbove(_ error: ImageError) -> ImageError {
    guard [.corrupt, .overlap, .outOfService].contains(error.code) else { return error }
    var told = error
    told.code = .unreadable
    // The place is one of that file.
    told.file = layerName
    return told
  }

  package func layerExtent(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> LayerExtent {
    let run: Mapping
    do throws(ImageError) { run = try mapping(at: guest, limit: limit) } catch {
      throw forLayerAbove(error)
    }
    let kind: LayerExtent.Kind =
      run.state.isUnallocated ? .unallocated : run.state.readsAsZero ? .zero : .data
    return LayerExtent(kind, length: run.length, offset: kind == .unallocated ? nil : run.host)
  }
}
