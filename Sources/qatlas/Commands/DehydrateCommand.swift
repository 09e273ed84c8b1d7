// `qatlas dehydrate` and `qatlas rehydrate`: an image without the data of its guest, for somebody who is to look at
// the mapping, and the way back.

import ArgumentParser
import Cartography
import Qcow
import QcowFormat
import Storage
import ToolText

struct DehydrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dehydrate", abstract: "Copy the tables of an image without the data of its guest.",
    discussion: """
      OUT gets the length of the image, and the tables at their places; everything else is a hole. It opens as the \
      image does, and reads as zeroes where that has data. What a snapshot saved of the machine is left out as well. \
      Names stay unless --blank-names is given, key material stays unless --blank-keys is given.
      """)

  @Flag(help: "Overwrite the names of files, snapshots and bitmaps by letters x.") var blankNames = false
  @Flag(help: "Overwrite salts and key material of an encrypted image: no passphrase fits any more.")
  var blankKeys = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String
  @Argument(help: "The new file.", completion: .file()) var out: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try Listing.open(image, word, chain, share, streams, tellsMissing: false)
    let atlas = Atlas(opened)
    atlas.scanAll()
    let skeleton = Skeleton(of: atlas)
    var blanks = Skeleton.Blanks()
    blanks.names = blankNames
    blanks.keys = blankKeys
    try Skeletons.write(out, streams) { file throws(StorageError) in
      let bytes = try skeleton.write(to: file, blanks)
      return "\(Notation.compact(bytes)) of tables"
    }
    if let problem = skeleton.problem {
      streams.error("note: not all tables are known: \(Escaping.human(problem))\n")
    }
  }
}

struct RehydrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rehydrate",
    abstract: "Put the tables of a dehydrated copy and the data of its image together.",
    discussion: """
      OUT gets the tables of COPY, which may have been repaired meanwhile, and the bytes of IMAGE wherever these say \
      that there are some. Neither of the two is changed.
      """)

  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @Argument(help: "The file that dehydrate made.", completion: .file()) var copy: String
  @Argument(help: "The image that it was made from.", completion: .file()) var image: String
  @Argument(help: "The new file.", completion: .file()) var out: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try Listing.open(copy, word, chain, share, streams, tellsMissing: false)
    let data = try Listing.open(image, word, chain, share, streams, tellsMissing: false)
    guard opened.geometry.clusterBits == data.geometry.clusterBits else {
      throw streams.failure(
        "the clusters of '\(Escaping.human(copy))' have another size than those of the image")
    }
    let atlas = Atlas(opened)
    atlas.scanAll()
    let skeleton = Skeleton(of: atlas)
    if let problem = skeleton.problem {
      throw streams.failure("not all tables of the copy are known: \(Escaping.human(problem))")
    }
    try Skeletons.write(out, streams) { file throws(StorageError) in
      let bytes = try skeleton.fill(file, from: data.storage)
      return "\(Notation.compact(bytes)) of data"
    }
  }
}

/// What both have in common.
private enum Skeletons {
  /// Makes a file and fills it; a failure leaves none behind.
  static func write(
    _ path: String, _ streams: Streams, _ body: (any Storage) throws(StorageError) -> String
  ) throws {
    do throws(StorageError) {
      let file = try NewFile(making: path)
      do throws(StorageError) {
        let told = try written(path) { () throws(StorageError) in try body(file.storage) }
        streams.output("\(Escaping.human(path)): \(told)\n")
      } catch {
        file.remove()
        throw error
      }
    } catch {
      throw streams.failure("Could not write '\(Escaping.human(path))': \(Escaping.human(error.detail))")
    }
  }

  /// Half of such a file would be in the way of the next try.
  private static func written(
    _ path: String, _ body: () throws(StorageError) -> String
  ) throws(StorageError) -> String {
    var result: Result<String, StorageError>?
    Interruption.during("'\(path)' was removed again; the same command begins anew", removing: path) {
      do throws(StorageError) { result = .success(try body()) } catch { result = .failure(error) }
    }
    return try result?.get() ?? ""
  }
}
