// swift-tools-version:6.0
import PackageDescription

let package = Package(
    name: "SignsInAndOut",
    platforms: [.macOS(.v12)],
    dependencies: [.package(path: "client")],
    targets: [
        .executableTarget(
            name: "SignsInAndOut",
            dependencies: [.product(name: "Phonepass", package: "client")],
            swiftSettings: [.unsafeFlags(["-warnings-as-errors"])]
        )
    ]
)
