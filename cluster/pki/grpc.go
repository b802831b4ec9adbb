package pki

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// ServerCredentials are for a gRPC server on Listener.GRPC: the handshake has
// been done before the connection gets there.
func ServerCredentials() credentials.TransportCredentials { return handshaked{} }

type handshaked struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (handshaked) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil, errors.New("gRPC connection without TLS")
	}
	return secure, credentials.TLSInfo{
		State:          secure.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (handshaked) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers")
}

// Info implements credentials.TransportCredentials.
func (handshaked) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (handshaked) Clone() credentials.TransportCredentials { return handshaked{} }

// OverrideServerName implements credentials.TransportCredentials.
func (handshaked) OverrideServerName(string) error {
	return errors.New("these credentials are for servers")
}
