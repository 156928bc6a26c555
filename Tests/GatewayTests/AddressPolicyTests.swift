import Gateway
import Glibc
import Testing

@Suite struct AddressPolicyTests {
    @Test(arguments: [
        "8.8.8.8", "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.88.98.255",
        "192.167.255.255", "198.17.255.255", "198.20.0.0", "203.0.112.255", "223.255.255.255",
        "2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::", "2003::1", "3ffe::1",
    ])
    func publicUnicastIsPermitted(_ text: String) throws {
        #expect(AddressPolicy(allowed: []).permits(try #require(IPAddress(text))))
    }

    @Test(arguments: [
        "0.0.0.0", "0.255.255.255", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
        "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255",
        "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
        "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    ])
    func specialIPv4IsRefused(_ text: String) throws {
        #expect(!AddressPolicy(allowed: []).permits(try #require(IPAddress(text))))
    }

    @Test(arguments: [
        "::", "::1", "::8.8.8.8", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::8.8.8.8",
        "64:ff9b::169.254.169.254", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:1::1", "2001:10::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:808:808::1", "2002:7f00:1::1", "3fff::1",
        "3fff:fff::1", "4000::1", "5f00::1", "8000::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
    ])
    func specialIPv6IsRefused(_ text: String) throws {
        #expect(!AddressPolicy(allowed: []).permits(try #require(IPAddress(text))))
    }

    @Test func everyRowOfTheTableIsANetwork() {
        #expect(AddressPolicy.refused.count == AddressPolicy.refusedRanges.count)
    }

    @Test(arguments: [
        (["127.0.0.0/8"], "127.0.0.1", true),
        (["127.0.0.1"], "127.0.0.1", true),
        (["127.0.0.1"], "127.0.0.2", false),
        (["10.0.0.0/8", "fd00::/8"], "fd12::1", true),
        (["10.0.0.0/8"], "192.168.0.1", false),
        (["::1/128"], "127.0.0.1", false),
        // A mapped address goes to the IPv4 address inside.
        (["127.0.0.0/8"], "::ffff:127.0.0.1", true),
        (["::ffff:127.0.0.0/104"], "::ffff:127.0.0.1", true),
        (["::ffff:127.0.0.0/104"], "127.0.0.1", false),
        // Allowing NAT64 opens public IPv4 behind it, and private IPv4 only if that is allowed too.
        (["64:ff9b::/96"], "64:ff9b::8.8.8.8", true),
        (["64:ff9b::/96"], "64:ff9b::10.0.0.1", false),
        (["64:ff9b::/96", "10.0.0.0/8"], "64:ff9b::10.0.0.1", true),
        (["10.0.0.0/8"], "64:ff9b::10.0.0.1", false),
        // 6to4 and Teredo are not looked into.
        (["10.0.0.0/8"], "2002:a00:1::1", false),
        (["2002::/16"], "2002:a00:1::1", true),
        (["0.0.0.0/0", "::/0"], "::ffff:169.254.169.254", true),
        (["0.0.0.0/0", "::/0"], "64:ff9b::169.254.169.254", true),
    ])
    func exceptions(_ allowed: [String], _ address: String, _ isPermitted: Bool) throws {
        let policy = AddressPolicy(allowed: try allowed.map { try #require(IPNetwork($0)) })
        #expect(policy.permits(try #require(IPAddress(address))) == isPermitted)
    }
}

@Suite struct IPNetworkTests {
    @Test(arguments: [
        "", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/ 8", "10.0.0.1/8",
        "::1/127", "::/129", "10.0.0.0/999999999999999999999", "host/8", "/8",
    ])
    func malformedNetworksAreRefused(_ text: String) {
        #expect(IPNetwork(text) == nil)
    }

    @Test(arguments: [
        "", "127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "127.0.0.1 ", "127.0.0.1:80", "127.0.0.1\u{0}", "[::1]",
        "fe80::1%eth0", "::g", "1::2::3",
    ])
    func malformedAddressesAreRefused(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test(arguments: ["0.0.0.0", "192.0.2.255", "::", "::1", "2001:db8::ff", "::ffff:192.0.2.1", "64:ff9b::c000:201"])
    func addressesPrintAsTheyAreRead(_ text: String) throws {
        #expect(try #require(IPAddress(text)).description == text)
    }

    @Test func aPrefixOfAnyLengthHolds() throws {
        let all = try #require(IPNetwork("::/0"))
        #expect(all.contains(try #require(IPAddress("ffff::1"))))
        #expect(!all.contains(try #require(IPAddress("1.2.3.4"))))
        let one = try #require(IPNetwork("1.2.3.4/32"))
        #expect(one == IPNetwork("1.2.3.4"))
        #expect(one.contains(try #require(IPAddress("1.2.3.4"))))
        #expect(!one.contains(try #require(IPAddress("1.2.3.5"))))
    }

    @Test func socketAddressesAreRead() {
        var v4 = sockaddr_in()
        v4.sin_family = sa_family_t(AF_INET)
        v4.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        #expect(Self.address(of: &v4, length: MemoryLayout<sockaddr_in>.size) == IPAddress("127.0.0.1"))
        #expect(Self.address(of: &v4, length: MemoryLayout<sockaddr_in>.size - 1) == nil)

        var v6 = sockaddr_in6()
        v6.sin6_family = sa_family_t(AF_INET6)
        inet_pton(AF_INET6, "2001:db8::7", &v6.sin6_addr)
        #expect(Self.address(of: &v6, length: MemoryLayout<sockaddr_in6>.size) == IPAddress("2001:db8::7"))

        var local = sockaddr_un()
        local.sun_family = sa_family_t(AF_UNIX)
        #expect(Self.address(of: &local, length: MemoryLayout<sockaddr_un>.size) == nil)
    }

    private static func address<Value>(of value: inout Value, length: Int) -> IPAddress? {
        withUnsafePointer(to: &value) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { IPAddress($0, length: length) }
        }
    }
}
