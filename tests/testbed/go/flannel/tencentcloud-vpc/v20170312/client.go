// Copyright: the gpufleet.k8s authors
// SPDX-License-Identifier: GPL-3.0-or-later

// Package v20170312 stands in for Tencent Cloud's VPC client, whose module is too big for module proxies to serve.
// It holds the names that flannel's tencent-vpc backend uses; every call fails, because the test bed is not in that cloud.
package v20170312

import "errors"

var errStandIn = errors.New("stand-in for the Tencent VPC client: no call works")

type Client struct{}

type Filter struct {
	Name   *string
	Values []*string
}

type Route struct {
	DestinationCidrBlock, GatewayId, GatewayType, RouteType *string
	Enabled                                                 *bool
	RouteId                                                 *uint64
}

type RouteTable struct {
	RouteTableId *string
	RouteSet     []*Route
}

type DescribeRouteTablesRequest struct{ Filters []*Filter }

type DescribeRouteTablesResponse struct {
	Response *struct{ RouteTableSet []*RouteTable }
}

type RoutesRequest struct {
	RouteTableId *string
	Routes       []*Route
}

type RoutesResponse struct{}

func NewClientWithSecretId(id, key, region string) (*Client, error) { return &Client{}, nil }

func NewDescribeRouteTablesRequest() *DescribeRouteTablesRequest { return &DescribeRouteTablesRequest{} }

func NewDeleteRoutesRequest() *RoutesRequest { return &RoutesRequest{} }

func NewCreateRoutesRequest() *RoutesRequest { return &RoutesRequest{} }

func (c *Client) DescribeRouteTables(*DescribeRouteTablesRequest) (*DescribeRouteTablesResponse, error) {
	return nil, errStandIn
}

func (c *Client) DeleteRoutes(*RoutesRequest) (*RoutesResponse, error) { return nil, errStandIn }

func (c *Client) CreateRoutes(*RoutesRequest) (*RoutesResponse, error) { return nil, errStandIn }
