// A disk image for programs: opened by its name with all it names, looked up, read and checked. It changes
// nothing, and nothing of it can end the program, whatever is in the file.

public import Qcow
public import QcowFormat
import Storage

/// Why something could not be done with an image.
public struct DiskImageError: Error, CustomStringConvertible, Sendable {
  /// One sentence in lower case, with the place where there is one.
  public let description: String
  /// A further sentence, as who holds a lock.
  public let hint: String?

  init(_ error: ImageError) {
    description = error.description
    hint = error.hint ?? error.remedy
  }

  init(_ failure: ImageOpening.Failure) {
    switch failure {
    case .file(let error): self.init(ImageError(error))
    case .image(let error): self.init(error)
    }
  }
}

/// A qcow2 image or a raw disk, open for reading.
///
/// All offsets and lengths are bytes. An image is used by one thread at a time.
public final class DiskImage {
  /// What may be opened, and how.
  public struct Options: Sendable {
    /// Backing files and data files may lie outside of the image's folder.
    public var allowsOutside = false
    /// Layers that cannot be opened leave a hole instead of failing; see `Extent.isMissing`.
    public var allowsMissingLayers = false
    /// Another program may be writing the image.
    public var forcesShare = false
    /// The file is read as this; nil to find out by its first bytes.
    public var format: Format?
    /// The passphrase of an encrypted image. Without it the bytes of such an image cannot be read.
    public var passphrase: [UInt8]?

    /// Nothing outside of the image's folder, nothing missing, nobody else writing.
    public init() {}
  }

  /// What a file is taken for.
  public enum Format: String, Sendable { case qcow2, raw }

  /// The name it was opened by.
  public let path: String
  /// What the file was taken for.
  public let format: Format
  private let options: Options
  private let layers: [any GuestLayer]
  private var image: Image? { layers.first as? Image }

  /// Opens the image at `path` and everything it names. Takes locks as the genuine tools do.
  ///
  /// - Throws: ``DiskImageError`` for a file that cannot be opened or is no sound image, for a layer that is
  ///   not allowed or not there, and for a wrong passphrase.
  public init(path: String, options: Options = Options()) throws(DiskImageError) {
    self.path = path
    self.options = options
    do throws(ImageOpening.Failure) {
      let opened = try Self.opening(path, options).open()
      format = opened.image == nil ? .raw : .qcow2
      layers = opened.layers
    } catch { throw DiskImageError(error) }
  }

  private static func opening(_ path: String, _ options: Options) -> ImageOpening {
    var policy = ChainPolicy()
    policy.allowsOutside = options.allowsOutside
    policy.allowsMissing = options.allowsMissingLayers
    policy.forcesShare = options.forcesShare
    var opening = ImageOpening(path, policy)
    opening.format = .any(asked: options.format?.rawValue)
    opening.foreign = { "'\(path)' has the format '\($0)', not qcow2 or raw" }
    if let passphrase = options.passphrase {
      opening.options.secret = unsafe Secret(capacity: passphrase.count) { room in
        unsafe room.copyBytes(from: passphrase)
        return passphrase.count
      }
    }
    return opening
  }

  // MARK: What it is

  /// Bytes of the disk.
  public var virtualSize: UInt64 { layers.first?.virtualSize ?? 0 }
  /// Cluster size and what follows from it; nil for a raw disk.
  public var geometry: Geometry? { image?.geometry }
  /// The fixed fields of the header; nil for a raw disk.
  public var header: Header? { image?.header }
  /// The internal snapshots, in the order of their table.
  public var snapshots: [SnapshotEntry] { image?.snapshots ?? [] }
  /// The files that extents are places in, by `Extent.depth`: the image or its data file, then the layers
  /// below.
  public var files: [String] { ChainWalk(layers).fileNames }

  // MARK: Where bytes are

  /// Calls `body` with the extents of a range, in order; what lies behind the end of the disk is left out.
  ///
  /// Reads tables and no data, at most one table of every layer at a time.
  ///
  /// - Throws: ``DiskImageError`` for a table that cannot be read.
  public func forEachExtent(
    from start: UInt64 = 0, length: UInt64 = .max, _ body: (Extent) -> Void
  ) throws(DiskImageError) {
    let size = virtualSize
    guard start < size, length > 0 else { return }
    var walk = ChainWalk(layers)
    do throws(ImageError) {
      try walk.each(from: start, to: start + min(length, size - start)) { (extent, _) throws(ImageError) in
        body(extent)
      }
    } catch { throw DiskImageError(error) }
  }

  /// Bytes of the disk as the guest sees them.
  ///
  /// - Throws: ``DiskImageError`` for a range that does not lie on the disk, for damage, and for a missing
  ///   layer or passphrase.
  public func read(at offset: UInt64, count: Int) throws(DiskImageError) -> [UInt8] {
    let size = virtualSize
    guard count >= 0, offset <= size, UInt64(count) <= size - offset, let disk = layers.first else {
      throw DiskImageError(
        ImageError(.invalidRequest, "\(count) bytes at \(offset) do not lie on the disk of \(size) bytes"))
    }
    var bytes = [UInt8](repeating: 0, count: count)
    var problem: ImageError?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(ImageError) {
        try unsafe disk.readLayer(at: GuestOffset(offset), into: buffer)
      } catch { problem = error }
    }
    if let problem { throw DiskImageError(problem) }
    return bytes
  }

  // MARK: Whether it is sound

  /// Counts references and compares them with the refcounts, as `qemu-img check` does; reads all tables.
  ///
  /// - Throws: ``DiskImageError`` for a raw disk, and for an image whose check could not come to its end.
  public func check() throws(DiskImageError) -> CheckResult {
    guard let image else {
      throw DiskImageError(ImageError(.unsupported, "a raw disk has nothing to check"))
    }
    do throws(ImageError) {
      let result = try ImageCheck(image.storage, namesOwners: false) { _ in }.run()
      if let failure = result.failure {
        throw ImageError(
          .storage, "the check failed: \(failure.detail ?? FileStorage.reason(failure.error))")
      }
      return result
    } catch { throw DiskImageError(error) }
  }
}
